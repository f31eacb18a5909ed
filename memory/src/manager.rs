//! The memory manager: one budget, one arena, many reservations.
//!
//! **Address space is not memory.** The arena reserves several times the budget in *virtual* addresses, so a contiguous
//! extent of any size that the budget covers can be found even when small extents are scattered. What counts against
//! the budget is what can be resident: segments in use, heap bytes charged, and free segments whose pages were touched
//! before, by the huge page where the system has them. When their sum would pass the budget, touched free segments are given back to the system first.
//!
//! Invariants, all under one lock: `charged = sum of what reservations hold <= budget`; `resident + heap <= budget`.
//! Trade-off: one lock for all allocations. An operator takes a segment per 32 KiB of records, so the lock is taken
//! thousands of times a second, not millions; reservations are grown in chunks.

use crate::arena::{Arena, HUGE};
use crate::buddy::Buddy;
use crate::reservation::{Reservation, ReservationShared};
use crate::{Error, Result, SEGMENT_SIZE};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How many times the budget is reserved in addresses.
const ADDRESS_FACTOR: usize = 4;

/// Segments of the largest extent whose pages are made present when it is taken (8 MiB). What is larger may be used in
/// part only, or late.
const MOST_POPULATED: usize = 256;

/// Hands out managed memory. Cheap to clone; all clones are the same pool.
///
/// ```
/// use fluvial_memory::{MemoryManager, SEGMENT_SIZE};
/// let manager = MemoryManager::new(4 << 20)?;
/// let reservation = manager.reserve("sort", 10)?;
/// let mut segment = reservation.alloc().expect("within the minimum");
/// segment[0] = 7;
/// assert_eq!(segment.len(), SEGMENT_SIZE);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryManager {
    shared: Arc<ManagerShared>,
}

#[derive(Debug)]
pub(crate) struct ManagerShared {
    pub(crate) arena: Arena,
    budget: usize,
    state: Mutex<State>,
    /// Told when segments are discharged.
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    buddy: Buddy,
    /// Segments whose pages may be resident, in use or free.
    touched: Bits,
    used: Bits,
    resident: usize,
    /// Segments' worth of heap bytes charged.
    heap: usize,
    /// Sum of what reservations hold.
    charged: usize,
    peak: usize,
    consumers: Vec<Weak<ReservationShared>>,
    gone: Vec<Usage>,
}

/// Who holds how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Name given to [`MemoryManager::reserve`].
    pub operator: String,
    /// Bytes held now.
    pub held: usize,
    /// Most bytes ever held.
    pub peak: usize,
}

impl MemoryManager {
    /// A pool of `budget` bytes, rounded down to whole segments.
    ///
    /// # Errors
    /// [`Error::Map`] if the addresses cannot be reserved.
    pub fn new(budget: usize) -> Result<Self> {
        let segments = (budget / SEGMENT_SIZE).max(1);
        let addresses = (segments * ADDRESS_FACTOR).next_power_of_two();
        let state = State {
            buddy: Buddy::new(addresses),
            touched: Bits::new(addresses),
            used: Bits::new(addresses),
            resident: 0,
            heap: 0,
            charged: 0,
            peak: 0,
            consumers: Vec::new(),
            gone: Vec::new(),
        };
        let arena = Arena::map(addresses, segments)?;
        Ok(Self { shared: Arc::new(ManagerShared { arena, budget: segments, state: Mutex::new(state), freed: Condvar::new() }) })
    }

    /// Reserves `minimum` segments for `operator`, to be grown as the pool allows.
    ///
    /// # Errors
    /// [`Error::BudgetTooSmall`] if the minimum is not free.
    pub fn reserve(&self, operator: &str, minimum: usize) -> Result<Reservation> {
        if !self.shared.charge(minimum) {
            return Err(Error::BudgetTooSmall {
                operator: operator.to_owned(),
                needed: minimum * SEGMENT_SIZE,
                available: self.available(),
                budget: self.budget(),
            });
        }
        Ok(self.shared.adopt(operator, minimum))
    }

    /// As [`MemoryManager::reserve`], but waits up to `patience` for what others are about to give back: a job that has ended may still
    /// have blocks on their way to disk.
    ///
    /// # Errors
    /// [`Error::BudgetTooSmall`] if the minimum is still not free then; at once if it is more than the budget.
    pub fn reserve_within(&self, patience: Duration, operator: &str, minimum: usize) -> Result<Reservation> {
        let shared = &self.shared;
        if minimum <= shared.budget {
            let state = shared.lock();
            let full = |state: &mut State| state.charged + minimum > shared.budget;
            drop(shared.freed.wait_timeout_while(state, patience, full).unwrap_or_else(PoisonError::into_inner));
        }
        self.reserve(operator, minimum)
    }

    /// The budget in bytes.
    pub fn budget(&self) -> usize {
        self.shared.budget * SEGMENT_SIZE
    }

    /// Bytes that no reservation holds.
    pub fn available(&self) -> usize {
        (self.shared.budget - self.shared.lock().charged) * SEGMENT_SIZE
    }

    /// Most bytes ever held by all reservations together.
    pub fn peak(&self) -> usize {
        self.shared.lock().peak * SEGMENT_SIZE
    }

    /// Who holds how much, the living first, then those that are gone (with `held` 0).
    pub fn usage(&self) -> Vec<Usage> {
        let state = self.shared.lock();
        let living: Vec<_> = state.consumers.iter().filter_map(Weak::upgrade).collect();
        let gone = state.gone.clone();
        drop(state);
        living.iter().map(|c| c.usage()).chain(gone).collect()
    }
}

impl ManagerShared {
    /// A reservation of segments that are charged already.
    pub(crate) fn adopt(self: &Arc<Self>, operator: &str, minimum: usize) -> Reservation {
        let shared = ReservationShared::new(self.clone(), operator, minimum);
        let mut state = self.lock();
        state.consumers.retain(|c| c.strong_count() > 0);
        state.consumers.push(Arc::downgrade(&shared));
        drop(state);
        Reservation::new(shared)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave the state half-changed in a way that matters: counters only.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Takes `n` segments from the budget.
    pub(crate) fn charge(&self, n: usize) -> bool {
        let mut state = self.lock();
        if state.charged + n > self.budget {
            return false;
        }
        state.charged += n;
        state.peak = state.peak.max(state.charged);
        true
    }

    pub(crate) fn discharge(&self, n: usize) {
        self.lock().charged -= n;
        self.freed.notify_all();
    }

    /// Asks the largest holder other than `asker` to give up some of what it holds.
    pub(crate) fn press(&self, asker: &ReservationShared, wanted: usize) {
        let living: Vec<_> = self.lock().consumers.iter().filter_map(Weak::upgrade).collect();
        let largest = living.iter().filter(|c| !std::ptr::eq(c.as_ref(), asker)).max_by_key(|c| c.held());
        if let Some(largest) = largest
            && largest.held() > asker.held() + wanted
        {
            let surplus = (largest.held() - asker.held()) / 2;
            largest.request(wanted.max(surplus.min(64)).min(surplus.max(1)));
        }
    }

    /// Finds `count` contiguous segments; the caller has charged them.
    pub(crate) fn take(&self, count: usize) -> Option<u32> {
        let mut state = self.lock();
        let first = state.buddy.alloc(count)?;
        state.used.set(first, count, true);
        let fresh = self.touch(&mut state.touched, first, count);
        state.resident += fresh;
        self.purge(&mut state);
        drop(state);
        if fresh > 0 && count <= MOST_POPULATED {
            self.arena.populate(first, count);
        }
        Some(first as u32)
    }

    /// Notes that segments will be written; gives how many more can be resident for it. The first touch of a huge page
    /// brings all of it, after which parts of it come and go as small pages do.
    fn touch(&self, touched: &mut Bits, first: usize, count: usize) -> usize {
        let (mut fresh, end) = (0, first + count);
        let mut at = first;
        while at < end {
            let group = at / HUGE * HUGE;
            let next = (group + HUGE).min(end);
            let (from, to) = if group + HUGE <= self.arena.huge() && touched.count(group, HUGE) == 0 {
                (group, group + HUGE)
            } else {
                (at, next)
            };
            fresh += to - from - touched.count(from, to - from);
            touched.set(from, to - from, true);
            at = next;
        }
        fresh
    }

    pub(crate) fn give_back(&self, first: u32, count: usize) {
        let mut state = self.lock();
        state.used.set(first as usize, count, false);
        state.buddy.free(first as usize, count);
    }

    /// Charges `n` segments' worth of heap; the caller has charged them to the budget.
    pub(crate) fn take_heap(&self, n: usize) {
        let mut state = self.lock();
        state.heap += n;
        self.purge(&mut state);
    }

    pub(crate) fn give_back_heap(&self, n: usize) {
        self.lock().heap -= n;
    }

    pub(crate) fn forget(&self, usage: Usage, held: usize) {
        let mut state = self.lock();
        state.charged -= held;
        match state.gone.iter_mut().find(|g| g.operator == usage.operator) {
            Some(g) => g.peak = g.peak.max(usage.peak),
            None => state.gone.push(Usage { held: 0, ..usage }),
        }
        drop(state);
        self.freed.notify_all();
    }

    /// Gives touched free pages back to the system until what can be resident is within the budget.
    fn purge(&self, state: &mut State) {
        let over = (state.resident + state.heap).saturating_sub(self.budget);
        if over == 0 {
            return;
        }
        let mut left = over.max(64); // a few more than needed, so that the next allocations find room
        let mut word = state.touched.words.len();
        while left > 0 && word > 0 {
            word -= 1;
            let mut free = state.touched.words[word] & !state.used.words[word];
            while free != 0 {
                let high = 63 - free.leading_zeros() as usize;
                let run = (free << (63 - high)).leading_ones() as usize;
                let first = word * 64 + high + 1 - run;
                self.arena.release(first, run);
                state.touched.set(first, run, false);
                state.resident -= run;
                left = left.saturating_sub(run);
                free &= if high + 1 == run { 0 } else { (1u64 << (high + 1 - run)) - 1 };
            }
        }
    }
}

/// A plain bitmap with ranged updates.
#[derive(Debug)]
struct Bits {
    words: Vec<u64>,
}

impl Bits {
    fn new(bits: usize) -> Self {
        Self { words: vec![0; bits.div_ceil(64)] }
    }

    fn masks(first: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
        let end = first + count;
        (first / 64..end.div_ceil(64)).map(move |w| {
            let lo = first.max(w * 64) - w * 64;
            let hi = end.min(w * 64 + 64) - w * 64;
            (w, (u64::MAX >> (64 - (hi - lo))) << lo)
        })
    }

    fn set(&mut self, first: usize, count: usize, on: bool) {
        for (w, mask) in Self::masks(first, count) {
            if on {
                self.words[w] |= mask;
            } else {
                self.words[w] &= !mask;
            }
        }
    }

    fn count(&self, first: usize, count: usize) -> usize {
        Self::masks(first, count).map(|(w, mask)| (self.words[w] & mask).count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimum_is_guaranteed_and_the_rest_is_refused() {
        let manager = MemoryManager::new(16 * SEGMENT_SIZE).unwrap();
        let a = manager.reserve("a", 10).unwrap();
        let error = manager.reserve("b", 7).unwrap_err();
        assert!(
            matches!(error, Error::BudgetTooSmall { needed, available, .. } if needed == 7 * SEGMENT_SIZE && available == 6 * SEGMENT_SIZE)
        );
        let held: Vec<_> = std::iter::from_fn(|| a.alloc()).collect();
        assert_eq!(held.len(), 16);
        drop(held);
        drop(a);
        assert_eq!(manager.available(), manager.budget());
    }

    #[test]
    fn a_reservation_waits_for_what_is_given_back() {
        let manager = MemoryManager::new(16 * SEGMENT_SIZE).unwrap();
        let first = manager.reserve("first", 10).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| manager.reserve_within(Duration::from_secs(60), "second", 10).map(drop));
            drop(first);
            second.join().unwrap().unwrap();
        });
        let _held = manager.reserve("first", 10).unwrap();
        assert!(manager.reserve_within(Duration::ZERO, "second", 10).is_err());
        assert!(manager.reserve_within(Duration::from_secs(60), "second", 17).is_err());
    }

    #[test]
    fn resident_pages_stay_within_the_budget_whatever_is_touched() {
        let manager = MemoryManager::new(64 * SEGMENT_SIZE).unwrap();
        let r = manager.reserve("x", 0).unwrap();
        for size in [1, 3, 64, 17, 5, 33, 64, 2] {
            let mut held = Vec::new();
            while let Some(mut e) = r.alloc_extent(size) {
                e.fill(1);
                held.push(e);
            }
            let state = manager.shared.lock();
            assert!(state.resident + state.heap <= 64, "{} + {}", state.resident, state.heap);
        }
        let guard = r.charge_heap(60 * SEGMENT_SIZE).unwrap();
        assert!(r.alloc_extent(5).is_none());
        let state = manager.shared.lock();
        assert!(state.resident + state.heap <= 64);
        drop(state);
        drop(guard);
        assert!(r.alloc_extent(64).is_some());
    }

    #[test]
    fn a_guarantee_holds_under_pressure() {
        let manager = MemoryManager::new(32 * SEGMENT_SIZE).unwrap();
        let (sort, other) = (manager.reserve("sort", 4).unwrap(), manager.reserve("other", 0).unwrap());
        assert!(sort.guarantee(3) && sort.minimum() == 4);
        assert!(sort.guarantee(12) && sort.minimum() == 12);
        assert!(!sort.guarantee(33) && sort.minimum() == 12);
        let mine: Vec<_> = std::iter::from_fn(|| sort.alloc()).take(20).collect();
        let theirs: Vec<_> = std::iter::from_fn(|| other.alloc()).collect();
        assert!(other.alloc().is_none() && sort.pressure() > 0);
        drop(mine);
        let more: Vec<_> = std::iter::from_fn(|| other.alloc()).collect();
        assert!(theirs.len() + more.len() <= 20 && sort.held() >= 12);
        let mine: Vec<_> = std::iter::from_fn(|| sort.alloc()).take(12).collect();
        assert_eq!(mine.len(), 12);
        drop((theirs, more, mine, sort, other));
        assert_eq!(manager.available(), manager.budget());
    }

    #[test]
    fn a_reservation_is_given_out_in_parts() {
        let manager = MemoryManager::new(32 * SEGMENT_SIZE).unwrap();
        let job = manager.reserve("job", 20).unwrap();
        let (sort, join) = (job.split("sort", 8).unwrap(), job.split("join", 12).unwrap());
        assert!(job.split("more", 1).is_none());
        assert_eq!(manager.available(), 12 * SEGMENT_SIZE);
        assert_eq!((sort.operator(), sort.minimum(), join.held()), ("sort", 8, 12));
        let held: Vec<_> = std::iter::from_fn(|| join.alloc()).collect();
        assert_eq!(held.len(), 24);
        let others: Vec<_> = std::iter::from_fn(|| sort.alloc()).collect();
        assert_eq!(others.len(), 8);
        drop((job, sort, held, others, join));
        assert_eq!(manager.available(), manager.budget());
    }

    #[test]
    fn a_refused_request_presses_the_largest_holder() {
        let manager = MemoryManager::new(32 * SEGMENT_SIZE).unwrap();
        let (big, small) = (manager.reserve("big", 1).unwrap(), manager.reserve("small", 1).unwrap());
        let mut held: Vec<_> = std::iter::from_fn(|| big.alloc()).collect();
        assert_eq!(held.len(), 31);
        assert!(small.alloc().is_some() && big.pressure() == 0);
        let one = small.alloc();
        assert!(one.is_some());
        assert!(small.alloc().is_none());
        assert!(big.pressure() > 0);
        while big.pressure() > 0 && held.pop().is_some() {}
        assert!(small.alloc().is_some());
    }
}
