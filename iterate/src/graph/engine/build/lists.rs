use super::super::adjacency::Part;
use super::super::array::Array64;
use super::super::block::{BlockReader, Place, too_small};
use super::super::raw::unpack;
use super::super::worker::Worker;
use super::appender::Appender;
use super::partition::{Piece, Plan};
use super::{Lists, MUTUAL, View, lock};
use fluvial_core::Result;
use fluvial_memory::SEGMENT_SIZE;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

/// Sorts the partitions of this worker and makes its part of them.
pub(super) async fn build(worker: &Worker, plan: &Plan, view: View, partitions: &[Mutex<Vec<Piece>>]) -> Result<Part> {
    let owned = plan.owned[worker.index()].clone();
    let bounds = &plan.bounds[owned.clone()];
    let first = bounds.first().map_or(u32::MAX, |vertices| vertices.start);
    let count = bounds.iter().map(Range::len).sum::<usize>();
    let shift = (worker.maker().bytes() / 4).ilog2();
    let offsets = Array64::zeros(&worker.reservation, count + 1)?;
    let mut lists = ListWriter::new(worker, view)?;
    let mut reader = worker.reader();
    for partition in owned {
        let pieces = std::mem::take(&mut *lock(&partitions[partition]));
        let vertices = plan.bounds[partition].clone();
        let mut counts = vec![0u32; vertices.len()];
        for piece in &pieces {
            piece.for_each(view.weighted, &mut reader, |edge, _| counts[(unpack(edge).0 - vertices.start) as usize] += 1)?;
        }
        worker.breathe().await;
        let mut from = 0;
        while from < counts.len() {
            from = lists.turn(&pieces, &counts, from, &vertices, (&offsets, first), &mut reader)?;
            worker.breathe().await;
        }
    }
    let (targets, weights) = lists.finish()?;
    Ok(Part { first, offsets, targets, weights, shift })
}

/// Sorts edges and appends lists to blocks.
struct ListWriter<'a> {
    worker: &'a Worker,
    view: View,
    targets: Appender,
    weights: Appender,
    written: u64,
}

impl<'a> ListWriter<'a> {
    fn new(worker: &'a Worker, view: View) -> Result<Self> {
        Ok(Self { worker, view, targets: Appender::new(worker.maker()), weights: Appender::new(worker.maker()), written: 0 })
    }

    /// Makes the lists of as many vertices as memory allows, from the one numbered `from` in the partition on; gives the next.
    fn turn(
        &mut self,
        pieces: &[Piece],
        counts: &[u32],
        from: usize,
        vertices: &Range<u32>,
        (offsets, first): (&Array64, u32),
        reader: &mut BlockReader,
    ) -> Result<usize> {
        let width = if self.view.weighted { 12 } else { 4 };
        let all: usize = counts[from..].iter().map(|&count| count as usize).sum();
        // No more than what leaves others theirs, if it is enough for one list.
        let reservation = &self.worker.reservation;
        let share = reservation.limit() / (4 * self.worker.members()) * SEGMENT_SIZE;
        let bytes = (all * width).min(share.max(counts[from] as usize * width));
        let mut segments = bytes.div_ceil(SEGMENT_SIZE).max(1);
        let mut scratch = loop {
            match reservation.alloc_extent(segments) {
                Some(scratch) => break scratch,
                None if segments > 1 => segments = segments.div_ceil(2),
                None => return Err(too_small(reservation, SEGMENT_SIZE)),
            }
        };
        let room = (scratch.len() / width).min(u32::MAX as usize);
        // Where the next edge of each vertex goes.
        let mut places = Vec::with_capacity(counts.len() - from);
        let mut edges = 0;
        for &count in &counts[from..] {
            if edges + count as usize > room {
                break;
            }
            places.push(edges as u32);
            edges += count as usize;
        }
        if places.is_empty() {
            return Err(too_small(&self.worker.reservation, counts[from] as usize * width));
        }
        let to = from + places.len();
        let (weights, targets) = scratch.split_at_mut(if self.view.weighted { room * 8 } else { 0 });
        let (weights, targets): (&mut [u64], &mut [u32]) = (bytemuck::cast_slice_mut(weights), bytemuck::cast_slice_mut(targets));
        let base = vertices.start + from as u32;
        for piece in pieces {
            piece.for_each(self.view.weighted, reader, |edge, weight| {
                let (vertex, neighbour) = unpack(edge);
                if let Some(place) = places.get_mut(vertex.wrapping_sub(base) as usize) {
                    targets[*place as usize] = neighbour;
                    if self.view.weighted {
                        weights[*place as usize] = weight;
                    }
                    *place += 1;
                }
            })?;
        }
        // Places are ends of lists now.
        let mut start = 0;
        for (number, end) in places.iter().enumerate() {
            let end = *end as usize;
            let mut length = end - start;
            if self.view.simple {
                let list = &mut targets[start..end];
                list.sort_unstable();
                length = if self.view.lists == Lists::Marked { merge_marks(list) } else { dedup(list) };
            }
            self.targets.append(bytemuck::cast_slice(&targets[start..start + length]))?;
            if self.view.weighted {
                self.weights.append(bytemuck::cast_slice(&weights[start..start + length]))?;
            }
            self.written += length as u64;
            offsets[(base - first) as usize + number + 1].store(self.written, Relaxed);
            start = end;
        }
        Ok(to)
    }

    fn finish(self) -> Result<(Vec<Place>, Vec<Place>)> {
        Ok((self.targets.finish()?, self.weights.finish()?))
    }
}

/// Moves the different values of a sorted list to its front; gives their number.
fn dedup(list: &mut [u32]) -> usize {
    let mut kept = 0;
    for at in 0..list.len() {
        if at == 0 || list[at] != list[kept - 1] {
            list[kept] = list[at];
            kept += 1;
        }
    }
    kept
}

/// As [`dedup`] of neighbours with a direction as last bit; gives them the mark of edges both ways.
fn merge_marks(list: &mut [u32]) -> usize {
    let (mut kept, mut first) = (0, 0);
    for at in 0..list.len() {
        let (neighbour, direction) = (list[at] >> 1, list[at] & 1);
        if kept > 0 && list[kept - 1] & !MUTUAL == neighbour {
            // Sorted: a direction other than that of the first comes after it.
            list[kept - 1] |= if direction == first { 0 } else { MUTUAL };
        } else {
            (list[kept], first) = (neighbour, direction);
            kept += 1;
        }
    }
    kept
}
