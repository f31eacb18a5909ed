//! What travels on the substrate's channels: one batch with its receiver and its permit; and the contract by which it
//! gets there.

use super::permit::Permit;
use super::time::Time;
use crate::Batch;
use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::allocator::thread::{ThreadPuller, ThreadPusher};
use timely::communication::{Pull, Push};
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::logging::TimelyLogger;
use timely::worker::Worker;

/// A batch on its way to a worker. The sender has routed it; the substrate only delivers.
#[derive(Default)]
pub(super) struct Parcel {
    /// The receiving worker.
    pub target: usize,
    pub load: Load,
}

#[derive(Default)]
pub(super) enum Load {
    #[default]
    Empty,
    /// Within a process.
    Batch(Batch, Permit),
    /// Between processes: what [`super::wire`] made of a batch. `cost` of the sending process's gate comes back as credit.
    Encoded { bytes: Vec<u8>, from_process: u32, cost: i64 },
    /// The same, received.
    Received { bytes: Bytes, from_process: u32, cost: i64 },
}

impl Accountable for Parcel {
    /// A parcel counts as one for progress tracking, however many records it holds.
    fn record_count(&self) -> i64 {
        i64::from(!matches!(self.load, Load::Empty))
    }
}

/// Bytes before the load: process, cost, length of the load.
const HEADER: usize = 24;

impl ContainerBytes for Parcel {
    fn from_bytes(mut bytes: Bytes) -> Self {
        let word = |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().expect("eight bytes"));
        let (from_process, cost, length) = (word(0) as u32, word(1) as i64, word(2) as usize);
        bytes.extract_to(HEADER);
        let bytes = bytes.extract_to(length);
        // The receiving channel belongs to one worker, so the target is known there.
        Self { target: 0, load: Load::Received { bytes, from_process, cost } }
    }

    fn length_in_bytes(&self) -> usize {
        match &self.load {
            Load::Encoded { bytes, .. } => (HEADER + bytes.len()).next_multiple_of(8),
            _ => unreachable!("the sender encodes what leaves the process"),
        }
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let Load::Encoded { bytes, from_process, cost } = &self.load else {
            unreachable!("the sender encodes what leaves the process")
        };
        let padding = self.length_in_bytes() - HEADER - bytes.len();
        let header = [u64::from(*from_process), *cost as u64, bytes.len() as u64].map(u64::to_le_bytes);
        // The writer is a memory slab with room for what `length_in_bytes` announced.
        let written = writer.write_all(header.as_flattened()).and_then(|()| writer.write_all(bytes));
        written.and_then(|()| writer.write_all(&[0; 8][..padding])).expect("a slab of the announced length");
    }
}

/// Lets one parcel out at a time: the substrate's input handle drains its channel, the harness wants one batch.
pub(super) type Valve = Rc<Cell<bool>>;

/// Delivers each parcel to its target worker, or to this one.
pub(super) struct Delivery {
    /// Whether all parcels stay on their worker.
    pub local: bool,
    pub valve: Valve,
}

impl ParallelizationContract<Time, Parcel> for Delivery {
    type Pusher = DeliveryPusher;
    type Puller = DeliveryPuller;

    fn connect(
        self,
        worker: &Worker,
        id: usize,
        address: Rc<[usize]>,
        _: Option<TimelyLogger>,
    ) -> (DeliveryPusher, DeliveryPuller) {
        let valve = self.valve;
        if self.local {
            let (pusher, puller) = worker.pipeline(id, address);
            (DeliveryPusher::Local(pusher), DeliveryPuller { source: Source::Local(puller), valve, closed: None })
        } else {
            let (pushers, puller) = worker.allocate(id, address);
            (DeliveryPusher::Exchange(pushers), DeliveryPuller { source: Source::Exchange(puller), valve, closed: None })
        }
    }
}

type ParcelMessage = Message<Time, Parcel>;

pub(super) enum DeliveryPusher {
    Local(ThreadPusher<ParcelMessage>),
    Exchange(Vec<Box<dyn Push<ParcelMessage>>>),
}

impl Push<ParcelMessage> for DeliveryPusher {
    #[inline]
    fn push(&mut self, message: &mut Option<ParcelMessage>) {
        // Every push is visible at once, so a flush (`None`) has nothing to do.
        if let Some(parcel) = message {
            match self {
                Self::Local(pusher) => pusher.push(message),
                Self::Exchange(pushers) => {
                    let target = parcel.data.target;
                    pushers[target].push(message);
                }
            }
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "one a channel; a box would cost the local path an indirection")]
enum Source {
    Local(ThreadPuller<ParcelMessage>),
    Exchange(Box<dyn Pull<ParcelMessage>>),
}

pub(super) struct DeliveryPuller {
    source: Source,
    valve: Valve,
    closed: Option<ParcelMessage>,
}

impl Pull<ParcelMessage> for DeliveryPuller {
    #[inline]
    fn pull(&mut self) -> &mut Option<ParcelMessage> {
        if !self.valve.get() {
            return &mut self.closed;
        }
        match &mut self.source {
            Source::Local(puller) => puller.pull(),
            Source::Exchange(puller) => puller.pull(),
        }
    }
}
