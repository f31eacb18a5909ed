use crate::graph::engine::build::{Lists, View};
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{DataStream, Result};
use std::sync::atomic::Ordering::Relaxed;

/// How [`Graph::cdlp`] runs.
#[derive(Clone, Copy, Debug)]
pub struct Cdlp {
    iterations: u64,
}

impl Default for Cdlp {
    /// Ten rounds.
    fn default() -> Self {
        Self { iterations: 10 }
    }
}

impl Cdlp {
    /// At most so many rounds; fewer where no label changes any more.
    #[must_use]
    pub fn iterations(self, iterations: u64) -> Self {
        Self { iterations }
    }
}

impl<I: VertexId> Graph<I> {
    /// Community detection by label propagation (Raghavan, Albert and Kumara, 2007), as LDBC Graphalytics defines it: all vertices at once take
    /// the label that most of their neighbours have, the smallest of those; where edges have a direction, a neighbour counts for each.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::{Cdlp, Graph};
    ///
    /// let env = Env::default();
    /// let graph = Graph::undirected(&env.from_collection([(1u64, 2u64), (2, 3), (3, 1), (3, 4)]));
    /// let labels = graph.cdlp(Cdlp::default().iterations(5)).collect()?;
    /// assert_eq!(labels, [(1, 1), (2, 1), (3, 1), (4, 1)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn cdlp(&self, options: Cdlp) -> DataStream<(I, I)> {
        self.add(options)
    }
}

/// Labels of lists up to this length are sorted, those of longer ones counted.
const SORTED: usize = 24;

/// Finds the label that comes most often, the smallest of those.
struct Votes {
    /// For each label how often it came; zeros between lists.
    counts: Vec<u32>,
    labels: Vec<u32>,
}

impl Votes {
    fn winner(&mut self) -> Option<u32> {
        if self.labels.len() <= SORTED {
            self.labels.sort_unstable();
            let runs = self.labels.chunk_by(|a, b| a == b);
            return runs.rev().max_by_key(|run| run.len()).map(|run| run[0]);
        }
        for &label in &self.labels {
            self.counts[label as usize] += 1;
        }
        let votes = |label: &u32| (self.counts[*label as usize], std::cmp::Reverse(*label));
        let winner = self.labels.iter().copied().max_by_key(votes);
        for &label in &self.labels {
            self.counts[label as usize] = 0;
        }
        winner
    }
}

impl<I: VertexId> Kernel<I> for Cdlp {
    const KIND: &'static str = "cdlp";
    type Output = (I, I);

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let count = graph.vertices();
        let lists = if graph.directed { Lists::All } else { Lists::Both };
        let [adjacency] = graph.lay_out(worker, [View { lists, simple: false, weighted: false }], |_, _| ()).await?;
        let mut labels = [worker.small(count).await?, worker.small(count).await?];
        for vertex in worker.share_of(count) {
            labels[0][vertex].store(vertex as u32, Relaxed);
        }
        let _charge = worker.charge(count * 4)?;
        let mut votes = Votes { counts: vec![0; count], labels: Vec::new() };
        let mut cursor = adjacency.cursor(&worker.reservation);
        worker.laid_out();
        worker.barrier().await;
        for _ in 0..self.iterations {
            let [before, after] = &labels;
            let mut changed = 0;
            while let Some(task) = worker.deal(adjacency.tasks.len()) {
                let task = &adjacency.tasks[task];
                for vertex in task.vertices.clone() {
                    votes.labels.clear();
                    cursor.pieces(task.part, vertex, |neighbours| {
                        votes.labels.extend(neighbours.iter().map(|&neighbour| before[neighbour as usize].load(Relaxed)));
                    })?;
                    let own = before[vertex as usize].load(Relaxed);
                    let label = votes.winner().unwrap_or(own);
                    after[vertex as usize].store(label, Relaxed);
                    changed += u64::from(label != own);
                }
                worker.breathe().await;
            }
            let changed = worker.sum([changed, 0, 0, 0]).await[0];
            worker.end_superstep(changed, None);
            labels.swap(0, 1);
            if changed == 0 {
                break;
            }
        }
        graph.emit::<I, I>(worker, |vertex| I::name(&graph.dictionary, labels[0][vertex as usize].load(Relaxed))).await
    }
}
