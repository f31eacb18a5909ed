//! Values of vertices: arrays in managed memory that all workers of a process read and write.
//!
//! The items are atomics, read and written relaxed: on today's processors that costs what plain access costs, and needs no promise
//! of anybody not to look at what another worker writes. What one superstep writes is there for the next because a barrier lies between.
//!
//! This is the only file of the graph library with `unsafe`: it makes a slice of atomics of the bytes of an [`Extent`].

use fluvial_memory::{Error, Extent, Reservation, SEGMENT_SIZE};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// An item of an [`Array`].
///
/// # Safety
/// Any bytes are a valid value, it needs no drop, and its alignment divides [`SEGMENT_SIZE`].
pub(crate) unsafe trait Item: Sync + Send {}

// SAFETY: an integer of 4 bytes.
unsafe impl Item for AtomicU32 {}
// SAFETY: an integer of 8 bytes.
unsafe impl Item for AtomicU64 {}

/// A fixed number of items in managed memory, given back when dropped.
pub(crate) struct Array<A: Item> {
    /// Never looked at as bytes while the array lives.
    memory: Option<Extent>,
    length: usize,
    items: PhantomData<A>,
}

/// Of small numbers.
pub(crate) type Array32 = Array<AtomicU32>;
/// Of large numbers, or of floating-point numbers by their bits.
pub(crate) type Array64 = Array<AtomicU64>;

impl<A: Item> Array<A> {
    /// `length` zeros.
    ///
    /// # Errors
    /// [`Error::BudgetTooSmall`] if the pool has not so much.
    pub(crate) fn zeros(reservation: &Reservation, length: usize) -> Result<Self, Error> {
        let bytes = length * size_of::<A>();
        if bytes == 0 {
            return Ok(Self { memory: None, length, items: PhantomData });
        }
        let Some(mut memory) = reservation.alloc_extent(bytes.div_ceil(SEGMENT_SIZE)) else {
            return Err(Error::BudgetTooSmall {
                operator: reservation.operator().to_owned(),
                needed: bytes,
                available: (reservation.limit() - reservation.used()) * SEGMENT_SIZE,
                budget: reservation.limit() * SEGMENT_SIZE,
            });
        };
        memory[..bytes].fill(0);
        Ok(Self { memory: Some(memory), length, items: PhantomData })
    }
}

impl<A: Item> Deref for Array<A> {
    type Target = [A];
    #[inline]
    fn deref(&self) -> &[A] {
        let Some(memory) = &self.memory else { return &[] };
        // SAFETY: the extent has at least `length` items, all of them initialized; segments are aligned to more than `A` is; any bytes
        // are a valid `A`. The array owns the extent and looks at it only through this slice, so all access is atomic.
        unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<A>().cast_const(), self.length) }
    }
}

impl Array64 {
    #[inline]
    pub(crate) fn number(&self, index: usize) -> f64 {
        f64::from_bits(self[index].load(Relaxed))
    }

    #[inline]
    pub(crate) fn set_number(&self, index: usize, value: f64) {
        self[index].store(value.to_bits(), Relaxed);
    }
}

/// A set of vertices as bits.
pub(crate) struct BitSet(Array64);

impl BitSet {
    pub(crate) fn new(reservation: &Reservation, length: usize) -> Result<Self, Error> {
        Array::zeros(reservation, length.div_ceil(64)).map(Self)
    }

    #[inline]
    pub(crate) fn contains(&self, index: u32) -> bool {
        self.0[index as usize / 64].load(Relaxed) >> (index % 64) & 1 == 1
    }

    /// Adds an item; false if it was there.
    #[inline]
    pub(crate) fn insert(&self, index: u32) -> bool {
        let bit = 1 << (index % 64);
        let word = &self.0[index as usize / 64];
        word.load(Relaxed) & bit == 0 && word.fetch_or(bit, Relaxed) & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_memory::MemoryManager;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arrays_are_zero_and_keep_what_is_written(
            length in 0usize..30_000,
            writes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..50),
        ) {
            let memory = MemoryManager::new(4 << 20).unwrap();
            let reservation = memory.reserve("test", 1).unwrap();
            for round in 0..2 {
                let array = Array64::zeros(&reservation, length).unwrap();
                let small = Array32::zeros(&reservation, length).unwrap();
                prop_assert_eq!((array.len(), small.len()), (length, length));
                prop_assert!(array.iter().all(|item| item.load(Relaxed) == 0), "round {}", round);
                prop_assert!(small.iter().all(|item| item.load(Relaxed) == 0));
                let mut model = vec![0; length];
                for (index, value) in writes.iter().filter(|_| length > 0) {
                    let at = index.index(length);
                    model[at] = *value;
                    array[at].store(*value, Relaxed);
                    small[at].store(*value as u32, Relaxed);
                }
                prop_assert!(array.iter().zip(&model).all(|(item, value)| item.load(Relaxed) == *value));
                prop_assert!(small.iter().zip(&model).all(|(item, value)| item.load(Relaxed) == *value as u32));
            }
        }
    }

    #[test]
    fn threads_see_each_others_values() {
        let memory = MemoryManager::new(4 << 20).unwrap();
        let array = Array64::zeros(&memory.reserve("test", 1).unwrap(), 1000).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| array.iter().for_each(|item| _ = item.fetch_add(7, Relaxed)));
            }
        });
        assert!(array.iter().all(|item| item.load(Relaxed) == 21));
    }

    #[test]
    fn too_much_is_an_error_that_says_how_much() {
        let memory = MemoryManager::new(2 << 20).unwrap();
        let error = Array64::zeros(&memory.reserve("ranks", 1).unwrap(), 1 << 20).map(drop).unwrap_err().to_string();
        assert!(error.contains("`ranks` needs at least 8388608 bytes"), "{error}");
    }

    #[test]
    fn a_bit_is_added_once() {
        let memory = MemoryManager::new(2 << 20).unwrap();
        let bits = BitSet::new(&memory.reserve("test", 1).unwrap(), 130).unwrap();
        assert!(bits.insert(129) && !bits.insert(129) && bits.contains(129) && !bits.contains(1));
    }
}
