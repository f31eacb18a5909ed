//! The workers of one process that compute on one graph together: their barrier, and what they tell each other there.
//!
//! Kernels are ordinary `async` code, one instance a worker, polled on the workers' own threads by the operator: they never block. A worker that
//! comes to a barrier looks for the others for a few microseconds, then leaves its thread to other operators until it is woken.
//!
//! Invariant: all workers of a team come to the same barriers in the same order. Slots are used alternately, by the parity of the
//! barrier: who is one barrier ahead cannot overwrite what a slower one still reads. Behind each barrier pieces of work are dealt anew.

use super::pulse::Pulse;
use fluvial_core::{Error, Result, Waker};
use std::any::Any;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a worker looks for the others before it leaves its thread.
const SPIN: Duration = Duration::from_micros(50);

/// Numbers that a worker tells the others at a barrier.
pub(crate) const SLOTS: usize = 4;

pub(crate) struct Team {
    members: usize,
    /// Whether every worker has a core: else looking out for others would keep them from coming.
    spins: bool,
    arrived: AtomicUsize,
    passed: AtomicUsize,
    /// Who waits, and at which barrier.
    waiting: Mutex<Vec<(usize, Waker)>>,
    told: [Vec<Slot>; 2],
    given: [Vec<Given>; 2],
    /// Of the pieces of work that are dealt: the next one.
    next: [AtomicUsize; 2],
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Slot([AtomicU64; SLOTS]);

/// What a worker gives to the others.
type Given = Mutex<Option<Arc<dyn Any + Send + Sync>>>;

impl Team {
    pub(crate) fn new(members: usize) -> Self {
        let slots = || (0..members).map(|_| Slot::default()).collect();
        Self {
            members,
            spins: std::thread::available_parallelism().is_ok_and(|cores| members <= cores.get()),
            arrived: AtomicUsize::new(0),
            passed: AtomicUsize::new(0),
            waiting: Mutex::default(),
            told: [slots(), slots()],
            given: [(); 2].map(|()| (0..members).map(|_| Mutex::default()).collect()),
            next: Default::default(),
        }
    }
}

/// One worker's place in its team.
pub(crate) struct Member {
    pub(crate) team: Arc<Team>,
    /// Its number in the team.
    pub(crate) index: usize,
    waker: Waker,
    pulse: Rc<Pulse>,
    /// Barriers that it has passed.
    passed: Cell<usize>,
}

impl Member {
    pub(crate) fn new(team: Arc<Team>, index: usize, waker: Waker, pulse: Rc<Pulse>) -> Self {
        Self { team, index, waker, pulse, passed: Cell::new(0) }
    }

    pub(crate) fn members(&self) -> usize {
        self.team.members
    }

    /// Returns when all have come here.
    pub(crate) async fn barrier(&self) {
        let team = &*self.team;
        let turn = self.passed.get();
        if team.arrived.fetch_add(1, AcqRel) + 1 == team.members {
            team.arrived.store(0, Relaxed);
            // The counter first: whoever looks for it under the lock and finds it as it was is woken.
            team.passed.store(turn + 1, Release);
            // Who has passed already may be waiting at the next barrier: that wake-up is not for now.
            lock(&team.waiting).retain(|(barrier, wake)| {
                let stays = *barrier > turn;
                if !stays {
                    wake();
                }
                stays
            });
        } else {
            let since = Instant::now();
            let mut looks = 0u32;
            while team.spins && team.passed.load(Acquire) == turn {
                looks += 1;
                if looks.is_multiple_of(64) && since.elapsed() > SPIN {
                    break;
                }
                std::hint::spin_loop();
            }
            let mut registered = false;
            poll_fn(|_| {
                if team.passed.load(Acquire) > turn {
                    return Poll::Ready(());
                }
                let mut waiting = lock(&team.waiting);
                if team.passed.load(Acquire) > turn {
                    return Poll::Ready(());
                }
                if !std::mem::replace(&mut registered, true) {
                    waiting.push((turn, self.waker.clone()));
                }
                self.pulse.wait();
                Poll::Pending
            })
            .await;
        }
        self.passed.set(turn + 1);
        // All have taken what was given at the barrier before this one.
        *lock(&team.given[(turn + 1) % 2][self.index]) = None;
        if self.index == 0 {
            // For the deal behind the next barrier: that of the last one has ended.
            team.next[turn % 2].store(0, Relaxed);
        }
    }

    /// A barrier at which each worker tells some numbers, and hears those of all, in the workers' order.
    pub(crate) async fn tell<R>(&self, numbers: [u64; SLOTS], hear: impl Fn(&mut dyn Iterator<Item = [u64; SLOTS]>) -> R) -> R {
        let slots = &self.team.told[self.passed.get() % 2];
        for (slot, number) in slots[self.index].0.iter().zip(numbers) {
            slot.store(number, Relaxed);
        }
        self.barrier().await;
        hear(&mut slots.iter().map(|slot| std::array::from_fn(|n| slot.0[n].load(Relaxed))))
    }

    /// A barrier at which all get what the first worker makes; it does so when it comes, before the others have come.
    ///
    /// # Errors
    /// Of making it; only the first worker gets that one, and the job fails with it.
    pub(crate) async fn share<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let given = &self.team.given[self.passed.get() % 2];
        if self.index == 0 {
            *lock(&given[0]) = Some(Arc::new(make()?));
        }
        self.barrier().await;
        take(&given[0])
    }

    /// A barrier at which all get what each of them gives, in the workers' order.
    ///
    /// # Errors
    /// The workers do not give the same type: a bug.
    pub(crate) async fn gather<T: Send + Sync + 'static>(&self, mine: T) -> Result<Vec<Arc<T>>> {
        let given = &self.team.given[self.passed.get() % 2];
        *lock(&given[self.index]) = Some(Arc::new(mine));
        self.barrier().await;
        given.iter().map(take).collect()
    }

    /// The next piece of work since the last barrier that nobody has taken, of `count`.
    #[inline]
    pub(crate) fn deal(&self, count: usize) -> Option<usize> {
        Some(self.team.next[self.passed.get() % 2].fetch_add(1, Relaxed)).filter(|next| *next < count)
    }
}

fn take<T: Send + Sync + 'static>(given: &Given) -> Result<Arc<T>> {
    let given = lock(given).clone();
    given
        .and_then(|given| given.downcast().ok())
        .ok_or_else(|| Error::Plan("the workers of a graph algorithm do not agree on what they do".into()))
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;
    use std::thread;

    /// Polls a kernel as an operator does: when it waits, its thread sleeps until it is woken.
    fn drive(kernel: impl Future<Output = ()>) {
        let mut kernel = pin!(kernel);
        while kernel.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending() {
            let before = Instant::now();
            thread::park_timeout(Duration::from_secs(30));
            assert!(before.elapsed() < Duration::from_secs(30), "nobody woke it");
        }
    }

    #[test]
    fn nobody_misses_the_end_of_a_barrier() {
        const BARRIERS: u64 = 20_000;
        let team = Arc::new(Team { spins: false, ..Team::new(3) });
        thread::scope(|scope| {
            for index in 0..3 {
                let team = team.clone();
                scope.spawn(move || {
                    let thread = thread::current();
                    let member = Member::new(team, index, Arc::new(move || thread.unpark()), Rc::new(Pulse::new()));
                    drive(async {
                        for turn in 0..BARRIERS {
                            let sum = |all: &mut dyn Iterator<Item = [u64; SLOTS]>| all.map(|told| told[0]).sum::<u64>();
                            assert_eq!(member.tell([turn * (index as u64 + 1), 0, 0, 0], sum).await, turn * 6);
                        }
                    });
                });
            }
        });
    }
}
