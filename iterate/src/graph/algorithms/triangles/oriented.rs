use super::order::Order;
use super::rows::{Rows, split};
use super::visit::Visit;
use crate::graph::engine::adjacency::{Adjacency, Cursor};
use crate::graph::engine::array::{Array32, Array64};
use crate::graph::engine::build::{Lists, MUTUAL, View};
use crate::graph::engine::{Prepared, Worker};
use fluvial_core::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Lists that lead each edge from the vertex of smaller degree to the other, the smaller vertex where they are equal. Their items are ranks: vertices
/// counted from the one of largest degree down. So most items of most lists are small numbers, and what is looked up for them is in the cache.
pub(super) struct Oriented {
    /// By vertex.
    lists: Arc<Adjacency>,
    /// By vertex, in the simple undirected graph.
    pub(super) degrees: Arc<Array32>,
    pub(super) order: Arc<Order>,
}

impl Oriented {
    pub(super) async fn new<const MARKED: bool>(worker: &Worker, graph: &Prepared) -> Result<Self> {
        if MARKED && graph.dictionary.vertices >= MUTUAL {
            let vertices = graph.dictionary.vertices;
            return Err(Error::Plan(format!(
                "clustering of a directed graph: it has {vertices} vertices, at most {} can be",
                MUTUAL - 1
            )));
        }
        let lists = if MARKED { Lists::Marked } else { Lists::Both };
        let [all] = graph.lay_out(worker, [View { lists, simple: true, weighted: false }], |_, _| ()).await?;
        let degrees = worker.small(graph.vertices()).await?;
        for part in &all.parts {
            for vertex in part.vertices().skip(worker.index()).step_by(worker.members()) {
                degrees[vertex as usize].store(all.degree(vertex) as u32, Relaxed);
            }
        }
        worker.barrier().await;
        let order = worker.share(|| Order::new(worker, &degrees)).await?;
        let mask = if MARKED { !MUTUAL } else { u32::MAX };
        let towards_hubs = |vertex: u32, list: &mut Vec<u32>| {
            let own = order.rank(vertex);
            list.retain_mut(|item| {
                let rank = order.rank(*item & mask);
                *item = rank | *item & !mask;
                rank < own
            });
            list.sort_unstable_by_key(|item| item & mask);
        };
        let lists = all.rewrite(worker, towards_hubs).await?;
        Ok(Self { lists, degrees, order })
    }

    /// The rows of hubs; none where lists are on disk, which are better read in order.
    pub(super) async fn rows<const MARKED: bool>(&self, worker: &Worker, cursor: &mut Cursor<'_>) -> Result<Option<Rows>> {
        let hubs = if self.lists.is_on_disk() { 0 } else { Rows::hubs(worker, self.degrees.len(), MARKED) };
        let width = hubs / 64 * (1 + usize::from(MARKED));
        // They make it fast, and no more: where there is no room for them there are none.
        let bits = worker.share(|| Ok(Array64::zeros(&worker.reservation, hubs * width).ok())).await?;
        let rows = bits.is_some().then_some(Rows { hubs, width, bits });
        let Some(rows) = rows.filter(|rows| rows.hubs > 0) else { return Ok(None) };
        for rank in worker.share_of(hubs) {
            let (vertex, row) = (self.order.vertex(rank as u32), rows.row(rank as u32));
            cursor.pieces(self.lists.part_of(vertex), vertex, |piece| {
                for &item in piece {
                    let (neighbour, ways) = split::<MARKED>(item);
                    let bit = 1 << (neighbour % 64);
                    // Nobody else writes to this row.
                    let set = |words: &[AtomicU64]| {
                        let word = &words[neighbour as usize / 64];
                        word.store(word.load(Relaxed) | bit, Relaxed);
                    };
                    set(row.edges);
                    if ways == 2 {
                        set(row.mutual);
                    }
                }
            })?;
        }
        worker.barrier().await;
        Ok(Some(rows))
    }

    /// Visits each triangle of this worker, from those pieces of work that are `wanted`.
    pub(super) async fn each<const MARKED: bool>(
        &self,
        worker: &Worker,
        wanted: impl Fn(usize) -> bool,
        visit: &mut impl Visit<MARKED>,
    ) -> Result<()> {
        let _charge = worker.charge(self.degrees.len())?;
        // By rank: whether it is in the list of the first corner, and how.
        let mut marks = vec![0u8; self.degrees.len()];
        let (mut own, mut second) = (self.lists.cursor(&worker.reservation), self.lists.cursor(&worker.reservation));
        let rows = self.rows::<MARKED>(worker, &mut second).await?;
        let mut list: Vec<u32> = Vec::new();
        while let Some(task) = worker.deal(self.lists.tasks.len()) {
            if !wanted(task) {
                continue;
            }
            let task = &self.lists.tasks[task];
            for vertex in task.vertices.clone() {
                list.clear();
                own.pieces(task.part, vertex, |piece| list.extend_from_slice(piece))?;
                if list.len() < 2 {
                    continue;
                }
                let a = self.order.rank(vertex);
                for &item in &list {
                    let (b, ways) = split::<MARKED>(item);
                    marks[b as usize] = ways as u8;
                }
                let mut looked = 0;
                for (at, &item) in list.iter().enumerate().skip(1) {
                    let (b, ways) = split::<MARKED>(item);
                    let vertex = self.order.vertex(b);
                    // The third corner has the smallest rank: it is before the second in the list of the first.
                    let hub =
                        rows.as_ref().filter(|rows| (b as usize) < rows.hubs && (at as u64) < 2 * self.lists.degree(vertex));
                    if let Some(rows) = hub {
                        looked += at;
                        visit.probe([a, b], ways, &list[..at], &rows.row(b));
                    } else {
                        second.pieces(self.lists.part_of(vertex), vertex, |piece| {
                            looked += piece.len();
                            visit.scan([a, b], ways, piece, &marks);
                        })?;
                    }
                    if looked > 1 << 16 {
                        looked = 0;
                        worker.breathe().await;
                    }
                }
                for &item in &list {
                    marks[split::<MARKED>(item).0 as usize] = 0;
                }
                visit.end(worker).await;
            }
            worker.breathe().await;
        }
        Ok(())
    }
}
