//! From chunks of edges to adjacency.
//!
//! Edges are first divided by the vertex whose list they go to, into partitions whose lists fit in a processor's cache, then each partition is
//! sorted by counting, in memory, and its lists are appended to the blocks of the worker's part. Both steps touch memory in order but for
//! a few places at a time, and both spill: partitions as blocks, lists as blocks. A partition larger than memory is read as often as its
//! vertices have to be taken in turns.

mod appender;
mod edges;
mod lists;
mod partition;
mod rewrite;

pub(crate) use edges::Edges;

use super::adjacency::{Adjacency, Part};
use super::dictionary::Dictionary;
use super::worker::Worker;
use edges::Histogram;
use fluvial_core::Result;
use partition::{Piece, Plan};
use std::sync::{Arc, Mutex};

/// Which edges are in whose list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) lists: Lists,
    /// Lists are sorted, without duplicates and loops.
    pub(crate) simple: bool,
    /// With weights.
    pub(crate) weighted: bool,
}

/// What the list of a vertex holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lists {
    /// Targets of the edges that it is the source of.
    Targets,
    /// Sources of the edges that it is the target of.
    Sources,
    /// Both; a loop once.
    Both,
    /// Both; a loop twice.
    All,
    /// Both, for simple lists: a neighbour to and from which edges lead has [`MUTUAL`] set, those without do not.
    Marked,
}

/// The bit of a neighbour in [`Lists::Marked`] that says that edges lead both ways.
pub(crate) const MUTUAL: u32 = 1 << 31;

impl Edges {
    /// Lays out adjacency. With `last` the edges are given up as they are read.
    ///
    /// # Errors
    /// Too little memory, or a full disk.
    pub(crate) async fn lay_out(
        &self,
        worker: &Worker,
        dictionary: &Dictionary,
        histogram: &Histogram,
        view: View,
        last: bool,
    ) -> Result<Arc<Adjacency>> {
        let plan = Plan::new(worker, dictionary.vertices, histogram, view);
        let partitions: Arc<Vec<Mutex<Vec<Piece>>>> =
            worker.share(|| Ok(plan.bounds.iter().map(|_| Mutex::default()).collect())).await?;
        self.partition(worker, dictionary, histogram.shift, &plan, view, last, &partitions).await?;
        worker.barrier().await;
        let part = lists::build(worker, &plan, view, &partitions).await?;
        assemble(worker, vec![part]).await
    }
}

/// Puts together what the workers have made.
async fn assemble(worker: &Worker, made: Vec<Part>) -> Result<Arc<Adjacency>> {
    let parts = worker.gather(Mutex::new(made)).await?;
    let make = || {
        let mut parts: Vec<Part> = parts.iter().flat_map(|made| std::mem::take(&mut *lock(made))).collect();
        parts.sort_by_key(|part| part.first);
        // Of parts without vertices only one is left, if there are no others.
        let some = parts.iter().any(|part| !part.vertices().is_empty());
        parts.retain(|part| !some || !part.vertices().is_empty());
        parts.truncate(if some { parts.len() } else { 1 });
        Ok(Adjacency::new(parts))
    };
    worker.share(make).await
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
