//! States of keys that are whole numbers near each other: at the place that the number says, without a look-up.

use super::Aggregation;
use super::layout::Layout;
use fluvial_memory::{Extent, KeyWidth, Reservation, RowBatch, SEGMENT_SIZE};

/// Widths of states.
const STATES: std::ops::RangeInclusive<usize> = 1..=24;
/// Most slots for each group seen when the slots are laid out.
const SPARSE: u64 = 256;
/// The range of the keys is made larger by this part of it at both ends.
const MARGIN: u64 = 8;
/// Keys that had no slot: so many and one for each so many slots make it useless.
const STRAYS: u64 = 1024;
const SLOTS_A_STRAY: u64 = 8;
/// More slots than these for a group, and the memory is given back.
const OVERSIZED: u64 = 64;

/// Keys of 8 bytes, taken as numbers, from `base` on: the state of number `base + n` is in slot `n`. The order of the bytes is
/// that of the keys (see `NormalizedKey`), so numbers that a program takes for keys, with a sign or without, are near each
/// other here if they were. This is what databases call perfect hashing of dense keys, and an array of ranks in a graph.
///
/// Segments of slots are allocated when the first of their keys comes; their slots hold initial states until then.
///
/// Invariant: all memory is the reservation's, but for a list of segments; where there is none, a key has no place.
pub(super) struct Direct {
    reservation: Reservation,
    base: u64,
    slots: u64,
    width: usize,
    /// log2 of the slots of a segment.
    shift: u32,
    segments: Vec<Option<Extent>>,
    /// How many there are, and may be.
    allocated: usize,
    most: usize,
    /// A bit for each slot: whether its key has come.
    present: Extent,
    /// Groups in the slots that were emptied last.
    groups: u64,
    /// Keys that had no place.
    strays: u64,
}

/// How far the slots have been emptied.
pub(super) type DirectCursor = u64;

fn number(key: &[u8]) -> Option<u64> {
    key.first_chunk().map(|word| u64::from_be_bytes(*word))
}

impl Direct {
    /// Lays out slots for keys like those of these rows, in at most so many segments; `None` if they are too far from each other.
    pub(super) fn lay_out<'a>(
        layout: Layout,
        reservation: &Reservation,
        rows: impl Iterator<Item = &'a [u8]>,
        most: usize,
    ) -> Option<Self> {
        let width = layout.state.filter(|width| layout.key == KeyWidth::Fixed(8) && STATES.contains(width))?;
        let (mut low, mut high, mut seen) = (u64::MAX, 0, 0u64);
        for key in rows.filter_map(number) {
            (low, high, seen) = (low.min(key), high.max(key), seen + 1);
        }
        let shift = (SEGMENT_SIZE / width).ilog2();
        let margin = high.checked_sub(low)? / MARGIN + 1;
        let base = low.saturating_sub(margin);
        let slots = (high.saturating_add(margin) - base).checked_add(1)?.checked_next_multiple_of(1 << shift)?;
        let segments = slots >> shift;
        if slots > seen.checked_mul(SPARSE)? || segments > most as u64 {
            return None;
        }
        let mut present = reservation.alloc_extent((slots as usize).div_ceil(8 * SEGMENT_SIZE))?;
        present.fill(0);
        let segments = (0..segments).map(|_| None).collect();
        let (reservation, allocated, groups, strays) = (reservation.clone(), 0, 0, 0);
        Some(Self { reservation, base, slots, width, shift, segments, allocated, most, present, groups, strays })
    }

    /// The state of a key, if there is memory at hand for it. It counts as one that has come.
    #[inline]
    pub(super) fn place(&mut self, key: [u8; 8]) -> Option<&mut [u8]> {
        let slot = u64::from_be_bytes(key).wrapping_sub(self.base);
        if slot >= self.slots {
            return None;
        }
        let segment = self.segments.get_mut((slot >> self.shift) as usize)?.as_deref_mut()?;
        *self.present.get_mut((slot >> 3) as usize)? |= 1 << (slot & 7);
        let start = (slot & ((1 << self.shift) - 1)) as usize * self.width;
        segment.get_mut(start..start + self.width)
    }

    /// Asks the processor to fetch what [`Direct::place`] will look at.
    #[inline]
    pub(super) fn prefetch(&self, key: [u8; 8]) {
        let slot = u64::from_be_bytes(key).wrapping_sub(self.base);
        if let Some(Some(segment)) = self.segments.get((slot >> self.shift) as usize) {
            segment.prefetch((slot & ((1 << self.shift) - 1)) as usize * self.width);
        }
    }

    /// Makes a place for a key, if its number is in the range and there is memory.
    pub(super) fn make_room<A: Aggregation>(&mut self, aggregation: &A, key: [u8; 8]) {
        let slot = u64::from_be_bytes(key).wrapping_sub(self.base);
        let segment = (slot < self.slots).then(|| &mut self.segments[(slot >> self.shift) as usize]);
        let room = self.allocated < self.most && self.reservation.pressure() == 0;
        match segment {
            Some(Some(_)) => {}
            Some(none) if room && let Some(mut extent) = self.reservation.alloc() => {
                extent.chunks_exact_mut(self.width).for_each(|state| aggregation.init(state));
                *none = Some(extent);
                self.allocated += 1;
            }
            _ => self.strays += 1,
        }
    }

    /// Whether too many keys have no place.
    pub(super) fn is_useless(&self) -> bool {
        self.strays > STRAYS + self.slots / SLOTS_A_STRAY
    }

    /// Whether the slots are much more than the groups that they were last used for, or others would like their memory.
    pub(super) fn is_oversized(&self) -> bool {
        self.groups * OVERSIZED < (self.allocated as u64) << self.shift || self.reservation.pressure() > 0
    }

    /// Appends rows `[key][state]` to `out` until it has `max_rows` of them (false) or all slots are empty.
    pub(super) fn empty_into<A: Aggregation>(
        &mut self,
        aggregation: &A,
        cursor: &mut DirectCursor,
        out: &mut RowBatch,
        max_rows: usize,
    ) -> bool {
        let (width, shift) = (self.width, self.shift);
        if *cursor == 0 {
            self.groups = 0;
        }
        while *cursor < self.slots {
            let Some(segment) = &mut self.segments[(*cursor >> shift) as usize] else {
                *cursor += 1 << shift;
                continue;
            };
            // A segment's slots are a multiple of 8.
            let bits = &mut self.present[(*cursor >> 3) as usize];
            while *bits != 0 {
                if out.len() >= max_rows {
                    return false;
                }
                let slot = *cursor + u64::from(bits.trailing_zeros());
                *bits &= *bits - 1;
                self.groups += 1;
                let start = (slot & ((1 << shift) - 1)) as usize * width;
                let state = &mut segment[start..start + width];
                out.parts_mut().0.extend_from_slice(&(self.base + slot).to_be_bytes());
                out.push_row(state);
                aggregation.init(state);
            }
            *cursor += 8;
        }
        self.strays = 0;
        true
    }
}
