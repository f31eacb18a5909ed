//! Messages between vertices, from one superstep to the next.
//!
//! With a combiner each sending worker has one place for every vertex, in arrays, and combines as messages are sent; the receiver
//! combines what the senders have. Without one, messages are serialized behind the number of their vertex and sorted by it, in managed memory
//! and through spill files.
//!
//! Invariant: what is sent in a superstep is received in the next one, once a barrier lies between.

use crate::graph::engine::Worker;
use crate::graph::engine::adjacency::Adjacency;
use fluvial_core::{Data, Result};
use fluvial_memory::{Codec, HeapCharge, KeyWidth, Progress, RowBatch, RowShape};
use fluvial_operators::{ExternalSort, KeyRange, MergeReader, SortOptions, SortedSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// Makes one message of two for the same vertex.
pub(super) type Combine<M> = Arc<dyn Fn(M, M) -> M + Send + Sync>;

/// Where the messages of a superstep go: by receiving part. Shared by the workers.
pub(super) enum Mailboxes<M> {
    /// By sender and receiver: a place for each of the receiver's vertices.
    Combined(Vec<Vec<Mutex<Places<M>>>>),
    /// By receiver.
    Sorted(Vec<Mutex<Option<ExternalSort>>>),
}

/// Messages of one sender for the vertices of one receiver.
pub(super) struct Places<M> {
    places: Vec<Option<M>>,
    /// How many of them are taken.
    filled: usize,
}

/// Bytes of rows for one receiver before they are handed over.
const BATCH: usize = 16 << 10;

/// Messages without a combiner: the vertex as big-endian number, then the message.
const SHAPE: RowShape = RowShape { key: KeyWidth::Fixed(4), row: None };

/// One worker's way to send and to receive.
pub(super) struct Post<'a, M> {
    worker: &'a Worker,
    adjacency: &'a Adjacency,
    combine: Option<Combine<M>>,
    /// Of this superstep and of the last one, in turn.
    boxes: [Arc<Mailboxes<M>>; 2],
    /// Which of the worker's spare reservations the first box is of.
    turn: usize,
    /// Without a combiner: rows that were not handed over yet, by receiver.
    rows: Vec<RowBatch>,
    codec: Codec<M>,
    pub(super) sent: u64,
    _charge: Option<HeapCharge>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Runs a step until it is done.
///
/// # Errors
/// Of the step.
fn until_done(mut progress: Progress, mut resume: impl FnMut() -> fluvial_memory::Result<Progress>) -> Result<()> {
    while progress != Progress::Done {
        progress = resume()?;
    }
    Ok(())
}

impl<'a, M: Data> Post<'a, M> {
    pub(super) async fn open(worker: &'a Worker, adjacency: &'a Adjacency, combine: Option<Combine<M>>) -> Result<Self> {
        let parts = &adjacency.parts;
        let mut charge = None;
        if combine.is_some() {
            let vertices: usize = parts.iter().map(|part| part.vertices().len()).sum();
            charge = Some(worker.charge(vertices * size_of::<Option<M>>() * 2)?);
        }
        let make = || -> Result<Mailboxes<M>> {
            Ok(if combine.is_some() {
                let places = |range: Range<u32>| Places { places: range.map(|_| None).collect(), filled: 0 };
                let sender = |_| parts.iter().map(|part| Mutex::new(places(part.vertices()))).collect();
                Mailboxes::Combined((0..worker.members()).map(sender).collect())
            } else {
                Mailboxes::Sorted(parts.iter().map(|_| Mutex::new(None)).collect())
            })
        };
        let boxes = [worker.share(make).await?, worker.share(make).await?];
        let rows = parts.iter().map(|_| RowBatch::new(SHAPE)).collect();
        let post = Self { worker, adjacency, combine, boxes, turn: 0, rows, codec: Codec::new()?, sent: 0, _charge: charge };
        post.empty_box()?;
        worker.barrier().await;
        Ok(post)
    }

    /// The part whose vertices are this worker's, if there is one.
    pub(super) fn own(&self) -> Option<usize> {
        Some(self.worker.index()).filter(|part| *part < self.adjacency.parts.len())
    }

    /// Makes the box that is sent to ready for messages to this worker's part.
    fn empty_box(&self) -> Result<()> {
        if let (Mailboxes::Sorted(receivers), Some(part)) = (&*self.boxes[0], self.own()) {
            let reservation = &self.worker.spare[self.turn];
            let sort = ExternalSort::new(reservation, self.worker.context.spill(), SortOptions::new(SHAPE), None)?;
            *lock(&receivers[part]) = Some(sort);
        }
        Ok(())
    }

    /// Sends a message.
    ///
    /// # Errors
    /// It cannot be serialized or there is no room.
    pub(super) fn send(&mut self, to: u32, message: M) -> Result<()> {
        self.sent += 1;
        let part = self.adjacency.part_of(to);
        match (&*self.boxes[0], &self.combine) {
            (Mailboxes::Combined(senders), Some(combine)) => {
                // Nobody else comes here before the barrier.
                let mut places = lock(&senders[self.worker.index()][part]);
                let place = (to - self.adjacency.parts[part].first) as usize;
                let Places { places, filled } = &mut *places;
                places[place] = Some(match places[place].take() {
                    Some(before) => combine(before, message),
                    None => {
                        *filled += 1;
                        message
                    }
                });
                Ok(())
            }
            _ => {
                let rows = &mut self.rows[part];
                let codec = &self.codec;
                rows.push_unhashed(&to.to_be_bytes(), |out| codec.encode(&message, out))?;
                if rows.byte_len() >= BATCH { self.hand_over(part) } else { Ok(()) }
            }
        }
    }

    fn hand_over(&mut self, part: usize) -> Result<()> {
        let Mailboxes::Sorted(receivers) = &*self.boxes[0] else { return Ok(()) };
        let mut receiver = lock(&receivers[part]);
        if let Some(sort) = &mut *receiver {
            let progress = sort.push(&self.rows[part])?;
            until_done(progress, || sort.resume())?;
        }
        self.rows[part].clear();
        Ok(())
    }

    /// The superstep ends: hands over what is left. A barrier must follow, and then [`Post::receive`].
    ///
    /// # Errors
    /// As [`Post::send`].
    pub(super) fn flush(&mut self) -> Result<()> {
        (0..self.rows.len())
            .filter(|&part| !self.rows[part].is_empty())
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|part| self.hand_over(part))
    }

    /// Takes what was sent to the vertices of this worker's part in the superstep that has ended, in place of what is left of the one
    /// before. A barrier must follow before anybody sends.
    ///
    /// # Errors
    /// Of sorting.
    pub(super) fn receive(&mut self, received: &mut Received<M>) -> Result<()> {
        // Its memory is free for the box that is sent to now.
        *received = Received::Nothing;
        self.boxes.swap(0, 1);
        self.turn = 1 - self.turn;
        self.sent = 0;
        self.empty_box()?;
        let Some(part) = self.own() else { return Ok(()) };
        *received = match &*self.boxes[1] {
            Mailboxes::Combined(_) => Received::Combined(self.boxes[1].clone(), part),
            Mailboxes::Sorted(receivers) => {
                let Some(mut sort) = lock(&receivers[part]).take() else { return Ok(()) };
                let progress = sort.finish()?;
                until_done(progress, || sort.resume())?;
                let merge = SortedSet::new(vec![sort.into_runs()?]).merge(KeyRange::ALL, &self.worker.reservation, None);
                Received::Sorted(Box::new(Sorted { merge, rows: RowBatch::new(SHAPE), at: 0, codec: self.codec.clone() }))
            }
        };
        Ok(())
    }

    /// Gives the messages of one vertex of a part; vertices are asked for in order.
    ///
    /// # Errors
    /// Of reading them.
    pub(super) fn take(&self, received: &mut Received<M>, vertex: u32, into: &mut Vec<M>) -> Result<()> {
        into.clear();
        match received {
            Received::Nothing => {}
            Received::Combined(boxes, part) => {
                let (Mailboxes::Combined(senders), Some(combine)) = (&**boxes, &self.combine) else { return Ok(()) };
                let place = (vertex - self.adjacency.parts[*part].first) as usize;
                for sender in senders {
                    let mut places = lock(&sender[*part]);
                    if places.filled > 0
                        && let Some(message) = places.places[place].take()
                    {
                        places.filled -= 1;
                        let message = match into.pop() {
                            Some(before) => combine(before, message),
                            None => message,
                        };
                        into.push(message);
                    }
                }
            }
            Received::Sorted(sorted) => sorted.take(vertex, into)?,
        }
        Ok(())
    }
}

/// What was sent to the vertices of one part.
pub(super) enum Received<M> {
    Nothing,
    Combined(Arc<Mailboxes<M>>, usize),
    Sorted(Box<Sorted<M>>),
}

/// Messages in the order of their vertices.
pub(super) struct Sorted<M> {
    merge: MergeReader,
    rows: RowBatch,
    at: usize,
    codec: Codec<M>,
}

impl<M: Data> Sorted<M> {
    fn take(&mut self, vertex: u32, into: &mut Vec<M>) -> Result<()> {
        loop {
            if self.at == self.rows.len() {
                self.rows.clear();
                self.at = 0;
                while self.merge.pull(&mut self.rows, 1024, 64 << 10)? == Progress::More && self.rows.is_empty() {}
                if self.rows.is_empty() {
                    return Ok(());
                }
            }
            if self.rows.key(self.at) != vertex.to_be_bytes() {
                return Ok(());
            }
            into.push(self.codec.decode(self.rows.payload(self.at))?);
            self.at += 1;
        }
    }
}
