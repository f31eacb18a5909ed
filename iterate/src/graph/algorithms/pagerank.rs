use crate::graph::engine::array::Array32;
use crate::graph::engine::build::{Lists, View};
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{DataStream, Error, Result};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How [`Graph::page_rank`] runs: rounds, or a tolerance, and where the walk begins again.
///
/// ```
/// use fluvial_iterate::graph::PageRank;
/// let until_it_stands = PageRank::<u64>::default().damping(0.9).tolerance(1e-9);
/// let around_one_vertex = PageRank::default().iterations(30).personalized([7u64]);
/// ```
#[derive(Clone, Debug)]
pub struct PageRank<I: VertexId = u64> {
    damping: f64,
    iterations: Option<u64>,
    tolerance: Option<f64>,
    sources: Vec<I>,
}

impl<I: VertexId> Default for PageRank<I> {
    /// Damping 0.85, 20 rounds, not personalized.
    fn default() -> Self {
        Self { damping: 0.85, iterations: None, tolerance: None, sources: Vec::new() }
    }
}

impl<I: VertexId> PageRank<I> {
    /// The probability of following an edge, from 0 to 1. Default: 0.85.
    #[must_use]
    pub fn damping(self, damping: f64) -> Self {
        Self { damping, ..self }
    }

    /// So many rounds; with a tolerance too, at most so many. Default: 20, with a tolerance 1000.
    #[must_use]
    pub fn iterations(self, iterations: u64) -> Self {
        Self { iterations: Some(iterations), ..self }
    }

    /// Rounds until the sum of the absolute changes is at most this. Default: a fixed number of rounds.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance: Some(tolerance), ..self }
    }

    /// The walk begins, and begins again, at these vertices in place of any. The rank of dead ends goes to them too. The job
    /// fails if one of them is not a vertex.
    #[must_use]
    pub fn personalized(self, sources: impl IntoIterator<Item = I>) -> Self {
        Self { sources: sources.into_iter().collect(), ..self }
    }
}

impl<I: VertexId> Graph<I> {
    /// PageRank (Page et al., 1999) in double precision, as LDBC Graphalytics defines it: the rank of vertices without outgoing edges is
    /// spread over all vertices, and ranks sum up to 1. Pulled along incoming edges.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::{Graph, PageRank};
    ///
    /// let env = Env::default();
    /// let graph = Graph::directed(&env.from_collection([(1u64, 3u64), (2, 3), (3, 1)]));
    /// let ranks = graph.page_rank(PageRank::default().tolerance(1e-12)).collect()?;
    /// assert!(ranks[2].1 > ranks[0].1 && ranks[0].1 > ranks[1].1);
    /// assert!((ranks.iter().map(|(_, rank)| rank).sum::<f64>() - 1.0).abs() < 1e-12);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn page_rank(&self, options: PageRank<I>) -> DataStream<(I, f64)> {
        self.add(options)
    }
}

impl<I: VertexId> Kernel<I> for PageRank<I> {
    const KIND: &'static str = "pagerank";
    type Output = (I, f64);

    fn bytes_per_vertex(&self, workers: usize) -> usize {
        48 + 4 * workers
    }

    fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.damping) {
            return Err(Error::Plan(format!("pagerank: the damping factor is {}, expected a number from 0 to 1", self.damping)));
        }
        match self.tolerance {
            Some(tolerance) if tolerance.is_nan() || tolerance < 0.0 => {
                Err(Error::Plan(format!("pagerank: the tolerance is {tolerance}, expected a number that is not negative")))
            }
            _ => Ok(()),
        }
    }

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let count = graph.vertices();
        // Numbers of outgoing edges; of lists where edges lead both ways.
        let degrees = worker.small(count).await?;
        let view = View { lists: if graph.directed { Lists::Sources } else { Lists::Both }, simple: false, weighted: false };
        let directed = graph.directed;
        // Each worker counts for itself: the counters of the few vertices with most edges would go from core to core.
        let mine = Array32::zeros(&worker.reservation, if directed { count } else { 0 })?;
        let counted = |source: u32, _: u32| {
            if directed {
                let degree = &mine[source as usize];
                degree.store(degree.load(Relaxed) + 1, Relaxed);
            }
        };
        let [adjacency] = graph.lay_out(worker, [view], counted).await?;
        let counts = worker.gather(mine).await?;
        if directed {
            for vertex in worker.share_of(count) {
                degrees[vertex].store(counts.iter().map(|counts| counts[vertex].load(Relaxed)).sum(), Relaxed);
            }
        }
        drop(counts);
        let ranks = worker.large(count).await?;
        // What each vertex gives along each of its edges: of the last round, and of this one.
        let mut shares = [worker.large(count).await?, worker.large(count).await?];
        let origin = Origin::new(self, &graph)?;

        let mut dangling = 0.0;
        worker.barrier().await;
        while let Some(task) = worker.deal(adjacency.tasks.len()) {
            for vertex in adjacency.tasks[task].vertices.clone() {
                if !directed {
                    degrees[vertex as usize].store(adjacency.degree(vertex) as u32, Relaxed);
                }
                let rank = origin.of(vertex);
                let degree = degrees[vertex as usize].load(Relaxed);
                ranks.set_number(vertex as usize, rank);
                if degree == 0 {
                    dangling += rank;
                } else {
                    shares[0].set_number(vertex as usize, rank / f64::from(degree));
                }
            }
        }
        dangling = worker.sum_numbers([dangling, 0.0, 0.0, 0.0]).await[0];
        worker.laid_out();

        let rounds = self.iterations.unwrap_or(if self.tolerance.is_some() { 1000 } else { 20 });
        let mut cursor = adjacency.cursor(&worker.reservation);
        for _ in 0..rounds {
            let (mut dangles, mut change) = (0.0, 0.0);
            let [given, giving] = &shares;
            let given = &given[..];
            while let Some(task) = worker.deal(adjacency.tasks.len()) {
                let task = &adjacency.tasks[task];
                for vertex in task.vertices.clone() {
                    let mut sum = 0.0;
                    cursor.pieces(task.part, vertex, |sources| sum += total(given, sources))?;
                    let again = (1.0 - self.damping) + self.damping * dangling;
                    let rank = again * origin.of(vertex) + self.damping * sum;
                    let degree = degrees[vertex as usize].load(Relaxed);
                    change += (rank - ranks.number(vertex as usize)).abs();
                    ranks.set_number(vertex as usize, rank);
                    if degree == 0 {
                        dangles += rank;
                    } else {
                        giving.set_number(vertex as usize, rank / f64::from(degree));
                    }
                }
                worker.breathe().await;
            }
            [dangling, change, ..] = worker.sum_numbers([dangles, change, 0.0, 0.0]).await;
            shares.swap(0, 1);
            worker.end_superstep(count as u64, Some(change));
            if self.tolerance.is_some_and(|tolerance| change <= tolerance) {
                break;
            }
        }
        graph.emit::<I, f64>(worker, |vertex| ranks.number(vertex as usize)).await
    }
}

/// The sum of the shares of some vertices. Four sums at a time: none waits for the addition before.
#[inline]
fn total(shares: &[AtomicU64], sources: &[u32]) -> f64 {
    let share = |source: u32| f64::from_bits(shares[source as usize].load(Relaxed));
    let (fours, rest) = sources.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for four in fours {
        for (sum, &source) in sums.iter_mut().zip(four) {
            *sum += share(source);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&source| share(source)).sum::<f64>()
}

/// Where the walk begins.
enum Origin {
    /// Anywhere.
    All(f64),
    /// At these vertices, sorted.
    Some(Vec<u32>),
}

impl Origin {
    fn new<I: VertexId>(options: &PageRank<I>, graph: &Prepared) -> Result<Self> {
        if options.sources.is_empty() {
            return Ok(Self::All(1.0 / graph.vertices() as f64));
        }
        let mut sources = Vec::new();
        for source in &options.sources {
            sources.push(graph.find("pagerank", source)?);
        }
        sources.sort_unstable();
        sources.dedup();
        Ok(Self::Some(sources))
    }

    #[inline]
    fn of(&self, vertex: u32) -> f64 {
        match self {
            Self::All(share) => *share,
            Self::Some(sources) if sources.binary_search(&vertex).is_ok() => 1.0 / sources.len() as f64,
            Self::Some(_) => 0.0,
        }
    }
}
