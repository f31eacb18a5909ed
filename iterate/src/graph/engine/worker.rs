use super::array::{Array32, Array64, BitSet};
use super::block::{BlockMaker, BlockReader, Ledger, too_small};
use super::pulse::Pulse;
use super::team::{Member, SLOTS};
use crate::graph::Supersteps;
use fluvial_core::{Result, SuperstepReport, TaskContext};
use fluvial_memory::{HeapCharge, Reservation, SEGMENT_SIZE};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What a kernel's instance on one worker has: its team, memory, and who is told of supersteps.
pub(crate) struct Worker {
    pub(crate) context: TaskContext,
    pub(crate) reservation: Reservation,
    /// As the kernel has asked for them.
    pub(crate) spare: [Reservation; 2],
    pub(crate) ledger: Arc<Ledger>,
    member: Member,
    pulse: Rc<Pulse>,
    supersteps: Supersteps,
    /// Number of the superstep that runs, and when it began.
    superstep: Cell<(u64, Instant)>,
    /// When the input had ended.
    began: Cell<Instant>,
    /// Results on their way out.
    pub(crate) outbox: RefCell<Vec<fluvial_core::Batch>>,
}

impl Worker {
    pub(crate) fn new(
        context: &TaskContext,
        (reservation, spare): (&Reservation, [Reservation; 2]),
        ledger: &Arc<Ledger>,
        (member, pulse): (Member, Rc<Pulse>),
        supersteps: Supersteps,
    ) -> Self {
        let now = Instant::now();
        Self {
            context: context.clone(),
            reservation: reservation.clone(),
            spare,
            ledger: ledger.clone(),
            member,
            pulse,
            supersteps,
            superstep: Cell::new((1, now)),
            began: Cell::new(now),
            outbox: RefCell::default(),
        }
    }

    /// Its number among the workers of this process.
    pub(crate) fn index(&self) -> usize {
        self.member.index
    }

    /// Number of workers of this process.
    pub(crate) fn members(&self) -> usize {
        self.member.members()
    }

    pub(crate) fn is_first(&self) -> bool {
        self.index() == 0
    }

    /// This worker's part of `count` things: about the same for all, in order.
    pub(crate) fn share_of(&self, count: usize) -> Range<usize> {
        let bound = |worker: usize| (count as u128 * worker as u128 / self.members() as u128) as usize;
        bound(self.index())..bound(self.index() + 1)
    }

    /// This worker's part of `count` things among the workers of all processes.
    pub(crate) fn part_of_all(&self, count: usize) -> Range<usize> {
        let bound = |worker: usize| (count as u128 * worker as u128 / self.context.workers as u128) as usize;
        bound(self.context.worker)..bound(self.context.worker + 1)
    }

    pub(crate) fn reader(&self) -> BlockReader {
        BlockReader::new(&self.reservation)
    }

    pub(crate) fn maker(&self) -> BlockMaker {
        BlockMaker::new(self.context.spill(), self.reservation.clone(), self.ledger.clone())
    }

    /// Charges heap memory of this worker until the guard is dropped.
    ///
    /// # Errors
    /// Too little memory.
    pub(crate) fn charge(&self, bytes: usize) -> Result<HeapCharge> {
        self.reservation.charge_heap(bytes).ok_or_else(|| too_small(&self.reservation, bytes))
    }

    /// Now that it is known how many vertices there are: what their values may need is kept from the edges.
    pub(crate) fn divide_memory(&self, vertices: u32, bytes: usize) {
        const BUFFERS: usize = 32;
        let budget = self.reservation.limit();
        let spare: usize = self.spare.iter().map(Reservation::minimum).sum();
        let kept = vertices as usize * bytes / SEGMENT_SIZE + self.members() * (BUFFERS + spare);
        self.ledger.limit(budget.saturating_sub(kept).max(budget / 8));
    }

    /// Returns when all workers of the process have come here.
    pub(crate) async fn barrier(&self) {
        self.member.barrier().await;
    }

    /// A barrier at which all get what the first worker makes.
    ///
    /// # Errors
    /// Of making it.
    pub(crate) async fn share<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        self.member.share(make).await
    }

    /// A barrier at which all get an array of so many zeros of 8 bytes.
    ///
    /// # Errors
    /// Too little memory.
    pub(crate) async fn large(&self, count: usize) -> Result<Arc<Array64>> {
        self.share(|| Ok(Array64::zeros(&self.reservation, count)?)).await
    }

    /// A barrier at which all get an array of so many zeros of 4 bytes.
    ///
    /// # Errors
    /// Too little memory.
    pub(crate) async fn small(&self, count: usize) -> Result<Arc<Array32>> {
        self.share(|| Ok(Array32::zeros(&self.reservation, count)?)).await
    }

    /// A barrier at which all get an empty set of so many items.
    ///
    /// # Errors
    /// Too little memory.
    pub(crate) async fn bits(&self, count: usize) -> Result<Arc<BitSet>> {
        self.share(|| Ok(BitSet::new(&self.reservation, count)?)).await
    }

    /// A barrier at which each worker tells some numbers, and gets the sums.
    pub(crate) async fn sum(&self, numbers: [u64; SLOTS]) -> [u64; SLOTS] {
        let add = |mut all: [u64; SLOTS], more: [u64; SLOTS]| {
            all.iter_mut().zip(more).for_each(|(sum, n)| *sum = sum.wrapping_add(n));
            all
        };
        self.member.tell(numbers, |all| all.fold([0; SLOTS], add)).await
    }

    /// A barrier at which each worker tells some floating-point numbers, and gets the sums, the same for all.
    pub(crate) async fn sum_numbers(&self, numbers: [f64; SLOTS]) -> [f64; SLOTS] {
        let add = |mut all: [f64; SLOTS], more: [u64; SLOTS]| {
            all.iter_mut().zip(more).for_each(|(sum, n)| *sum += f64::from_bits(n));
            all
        };
        self.member.tell(numbers.map(f64::to_bits), |all| all.fold([0.0; SLOTS], add)).await
    }

    /// A barrier at which each worker tells some numbers, and gets what `all` makes of those of all workers.
    pub(crate) async fn tell<R>(&self, numbers: [u64; SLOTS], hear: impl Fn(&mut dyn Iterator<Item = [u64; SLOTS]>) -> R) -> R {
        self.member.tell(numbers, hear).await
    }

    /// A barrier at which all get what each of them gives, in the workers' order.
    ///
    /// # Errors
    /// The workers do not give the same type: a bug.
    pub(crate) async fn gather<T: Send + Sync + 'static>(&self, mine: T) -> Result<Vec<Arc<T>>> {
        self.member.gather(mine).await
    }

    /// The next piece of work since the last barrier that nobody has taken, of `count`.
    pub(crate) fn deal(&self, count: usize) -> Option<usize> {
        self.member.deal(count)
    }

    /// Lets other operators have their turn if this one has had its time. Called every some ten thousand steps.
    pub(crate) async fn breathe(&self) {
        self.pulse.breathe().await;
    }

    /// The input has ended: the graph's time runs.
    pub(crate) fn input_ended(&self) {
        self.began.set(Instant::now());
    }

    /// The graph is known.
    pub(crate) fn begin(&self, vertices: u64, edges: u64) {
        if self.is_first() {
            self.supersteps.begin(vertices, edges);
        }
    }

    /// Ids have been compacted and adjacency is laid out: supersteps begin.
    pub(crate) fn laid_out(&self) {
        self.superstep.set((1, Instant::now()));
        if self.is_first() {
            self.supersteps.laid_out(self.began.get().elapsed().as_secs_f64());
        }
    }

    /// A superstep has ended.
    pub(crate) fn end_superstep(&self, workset: u64, convergence: Option<f64>) {
        let (superstep, since) = self.superstep.get();
        let now = Instant::now();
        self.superstep.set((superstep + 1, now));
        if self.is_first() {
            let values = convergence.map(|value| (SuperstepReport::CONVERGENCE.to_owned(), value)).into_iter().collect();
            self.supersteps.ended(SuperstepReport { superstep, workset, values, seconds: (now - since).as_secs_f64() });
        }
    }

    /// All results are known.
    pub(crate) fn finished(&self) {
        if self.is_first() {
            self.supersteps.finished(self.began.get().elapsed().as_secs_f64());
        }
    }

    /// Sends results on; waits while nobody takes them.
    pub(crate) async fn emit(&self, batch: fluvial_core::Batch) {
        self.outbox.borrow_mut().push(batch);
        while self.outbox.borrow().len() > 4 {
            self.pulse.pause().await;
        }
    }
}
