//! What one operator holds of the pool, and the extents it is made of.

use crate::SEGMENT_SIZE;
use crate::arena::Address;
use crate::manager::{ManagerShared, Usage};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// Segments by which a reservation grows at the most, and slack that it keeps before it gives back.
const CHUNK: usize = 32;

/// An operator's share of the pool: a guaranteed minimum, and more while the pool has it.
///
/// Clones share the same account. When growth is refused the operator spills; the largest other holder is asked to
/// give some back ([`Reservation::pressure`]), which is a request that it looks at between batches, never a wait.
#[derive(Clone, Debug)]
pub struct Reservation {
    shared: Arc<ReservationShared>,
}

#[derive(Debug)]
pub(crate) struct ReservationShared {
    manager: Arc<ManagerShared>,
    operator: String,
    minimum: AtomicUsize,
    /// Segments charged to this operator.
    held: AtomicUsize,
    /// Of those, in extents or heap charges.
    used: AtomicUsize,
    /// Segments that others would like back.
    requested: AtomicUsize,
    peak: AtomicUsize,
}

impl ReservationShared {
    pub(crate) fn new(manager: Arc<ManagerShared>, operator: &str, minimum: usize) -> Arc<Self> {
        Arc::new(Self {
            manager,
            operator: operator.to_owned(),
            minimum: minimum.into(),
            held: minimum.into(),
            used: 0.into(),
            requested: 0.into(),
            peak: minimum.into(),
        })
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(crate) fn request(&self, segments: usize) {
        self.requested.store(segments, Relaxed);
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage { operator: self.operator.clone(), held: self.held() * SEGMENT_SIZE, peak: self.peak.load(Relaxed) * SEGMENT_SIZE }
    }

    /// Takes `n` segments of what is held, growing if the pool allows.
    fn take(&self, n: usize) -> bool {
        let mut used = self.used.load(Relaxed);
        loop {
            let held = self.held.load(Relaxed);
            if used + n <= held {
                match self.used.compare_exchange_weak(used, used + n, Relaxed, Relaxed) {
                    Ok(_) => return true,
                    Err(now) => used = now,
                }
                continue;
            }
            let lacking = used + n - held;
            let chunk = lacking.max((held / 8).min(CHUNK));
            if self.manager.charge(chunk) {
                self.grown(chunk);
            } else if chunk > lacking && self.manager.charge(lacking) {
                self.grown(lacking);
            } else {
                self.manager.press(self, lacking);
                return false;
            }
            used = self.used.load(Relaxed);
        }
    }

    fn grown(&self, n: usize) {
        let held = self.held.fetch_add(n, Relaxed) + n;
        self.peak.fetch_max(held, Relaxed);
    }

    /// Returns `n` segments to what is held, and the surplus to the pool.
    fn put(&self, n: usize) {
        let used = self.used.fetch_sub(n, Relaxed) - n;
        let pressed = self.requested.load(Relaxed) > 0;
        let slack = if pressed { 0 } else { CHUNK };
        let surplus = |held: usize| held.saturating_sub(self.minimum.load(SeqCst).max(used + slack));
        let mut held = self.held.load(SeqCst);
        let mut given = loop {
            let given = surplus(held);
            if given == 0 {
                return;
            }
            match self.held.compare_exchange_weak(held, held - given, SeqCst, SeqCst) {
                Ok(_) => break given,
                Err(now) => held = now,
            }
        };
        // A guarantee given meanwhile either saw what is held now, or is seen here.
        let missing = self.minimum.load(SeqCst).saturating_sub(held - given).min(given);
        if missing > 0 {
            self.held.fetch_add(missing, SeqCst);
            given -= missing;
        }
        self.manager.discharge(given);
        let _ = self.requested.fetch_update(Relaxed, Relaxed, |r| Some(r.saturating_sub(given)));
    }
}

impl Drop for ReservationShared {
    fn drop(&mut self) {
        self.manager.forget(self.usage(), self.held());
    }
}

impl Reservation {
    pub(crate) fn new(shared: Arc<ReservationShared>) -> Self {
        Self { shared }
    }

    /// One segment, or `None` if the pool has no more: time to spill.
    pub fn alloc(&self) -> Option<Extent> {
        self.alloc_extent(1)
    }

    /// `segments` contiguous segments, or `None` if the pool has no more. Contents are whatever was there.
    pub fn alloc_extent(&self, segments: usize) -> Option<Extent> {
        assert!(segments > 0, "an extent has at least one segment");
        if !self.shared.take(segments) {
            return None;
        }
        match self.shared.manager.take(segments) {
            Some(first) => {
                let pointer = self.shared.manager.arena.pointer(first);
                Some(Extent { pointer, first, count: segments as u32, owner: self.shared.clone() })
            }
            None => {
                self.shared.put(segments);
                None
            }
        }
    }

    /// Charges `bytes` of ordinary heap memory (a reader's buffers, say) to this operator until the guard is dropped.
    pub fn charge_heap(&self, bytes: usize) -> Option<HeapCharge> {
        let segments = bytes.div_ceil(SEGMENT_SIZE);
        self.shared.take(segments).then(|| {
            self.shared.manager.take_heap(segments);
            HeapCharge { segments, owner: self.shared.clone() }
        })
    }

    /// Segments guaranteed.
    pub fn minimum(&self) -> usize {
        self.shared.minimum.load(Relaxed)
    }

    /// Raises what is guaranteed to `segments`, so that whatever others take, that much is here; false if the pool has not
    /// so much. A guarantee is never lowered, and a smaller one than there is says true.
    pub fn guarantee(&self, segments: usize) -> bool {
        let shared = &self.shared;
        let minimum = shared.minimum.load(Relaxed);
        if segments <= minimum {
            return true;
        }
        // First the promise, so that nothing of what is held goes back meanwhile: see `put`.
        shared.minimum.store(segments, SeqCst);
        let lacking = segments.saturating_sub(shared.held.load(SeqCst));
        if lacking == 0 || shared.manager.charge(lacking) {
            shared.grown(lacking);
            return true;
        }
        shared.minimum.store(minimum, SeqCst);
        false
    }

    /// Moves `segments` of what this reservation guarantees to one of their own for `operator`; none if so many are not free
    /// here. For a whole that is reserved at once and given out in parts.
    pub fn split(&self, operator: &str, segments: usize) -> Option<Reservation> {
        let shared = &self.shared;
        let used = shared.used.load(Relaxed);
        let rest = |minimum: usize| minimum.checked_sub(segments).filter(|rest| *rest >= used);
        shared.minimum.fetch_update(Relaxed, Relaxed, rest).ok()?;
        shared.held.fetch_sub(segments, Relaxed);
        Some(shared.manager.adopt(operator, segments))
    }

    /// Segments charged to this operator.
    pub fn held(&self) -> usize {
        self.shared.held()
    }

    /// Segments in extents and heap charges.
    pub fn used(&self) -> usize {
        self.shared.used.load(Relaxed)
    }

    /// Most segments ever held.
    pub fn peak(&self) -> usize {
        self.shared.peak.load(Relaxed)
    }

    /// Segments that others would like this operator to give back; zero once it did.
    pub fn pressure(&self) -> usize {
        self.shared.requested.load(Relaxed)
    }

    /// The operator's name.
    pub fn operator(&self) -> &str {
        &self.shared.operator
    }

    /// Most segments this operator could ever hold: the whole budget.
    pub fn limit(&self) -> usize {
        self.shared.manager.budget()
    }

    /// First byte of the arena, for turning an [`Address`] into a pointer.
    pub(crate) fn arena_base(&self) -> *mut u8 {
        self.shared.manager.arena.base()
    }
}

/// One or more contiguous segments with one owner; an ordinary mutable slice of bytes. Returned to the reservation when
/// dropped.
#[derive(Debug)]
pub struct Extent {
    pointer: *mut u8,
    first: u32,
    count: u32,
    owner: Arc<ReservationShared>,
}

// SAFETY: an extent is the only owner of its part of the arena.
unsafe impl Send for Extent {}
// SAFETY: shared access only reads.
unsafe impl Sync for Extent {}

impl Extent {
    /// Segments in it.
    pub fn segments(&self) -> usize {
        self.count as usize
    }

    /// Where its first byte lies.
    pub fn address(&self) -> Address {
        Address(u64::from(self.first) * SEGMENT_SIZE as u64)
    }

    /// Its first byte, for code that keeps addresses into it.
    pub fn as_ptr(&self) -> *mut u8 {
        self.pointer
    }

    /// Asks the processor to fetch the cache line of a byte. A hint: any offset will do.
    #[inline]
    pub fn prefetch(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.pointer.wrapping_add(offset).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// The extent as a slice of `u64` (native byte order), for reading.
    #[inline]
    pub fn u64s(&self) -> &[u64] {
        // SAFETY: segments are aligned to 32 KiB, any bytes are a valid u64, and this extent owns the range.
        unsafe { std::slice::from_raw_parts(self.pointer.cast(), self.len() / 8) }
    }

    /// The extent as a slice of `f64` (native byte order), for reading.
    #[inline]
    pub fn f64s(&self) -> &[f64] {
        // SAFETY: segments are aligned to 32 KiB, any bytes are a valid f64, and this extent owns the range.
        unsafe { std::slice::from_raw_parts(self.pointer.cast(), self.len() / 8) }
    }

    /// The extent as a slice of `f64` (native byte order).
    #[inline]
    pub fn as_f64s(&mut self) -> &mut [f64] {
        // SAFETY: segments are aligned to 32 KiB, any bytes are a valid f64, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.cast(), self.len() / 8) }
    }

    /// The extent as a slice of `u64` (native byte order).
    #[inline]
    pub fn as_u64s(&mut self) -> &mut [u64] {
        // SAFETY: segments are aligned to 32 KiB, any bytes are a valid u64, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.cast(), self.len() / 8) }
    }
}

impl Deref for Extent {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is initialized (zero pages) and this extent owns the range.
        unsafe { std::slice::from_raw_parts(self.pointer, self.count as usize * SEGMENT_SIZE) }
    }
}

impl DerefMut for Extent {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.count as usize * SEGMENT_SIZE) }
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.owner.manager.give_back(self.first, self.count as usize);
        self.owner.put(self.count as usize);
    }
}

/// Heap bytes charged to a reservation, given back when dropped.
#[derive(Debug)]
pub struct HeapCharge {
    segments: usize,
    owner: Arc<ReservationShared>,
}

impl HeapCharge {
    /// Bytes charged, in whole segments.
    pub fn bytes(&self) -> usize {
        self.segments * SEGMENT_SIZE
    }
}

impl Drop for HeapCharge {
    fn drop(&mut self) {
        self.owner.manager.give_back_heap(self.segments);
        self.owner.put(self.segments);
    }
}
