//! An operator's input: takes one batch at a time off the substrate's channel.

use super::credit::CreditReturn;
use super::parcel::{DeliveryPuller, Load, Parcel, Valve};
use super::permit::Permit;
use super::plan::BatchCodec;
use super::time::Time;
use super::wire;
use crate::{Batch, Result};
use std::sync::Arc;
use timely::dataflow::operators::InputCapability;
use timely::dataflow::operators::generic::InputHandleCore;

pub(super) struct Inlet {
    pub handle: InputHandleCore<Time, Parcel, DeliveryPuller>,
    pub valve: Valve,
    pub codec: Option<Arc<dyn BatchCodec>>,
    /// One a process: where the credit for its batches goes. Empty in a single process.
    pub credits: Vec<Arc<CreditReturn>>,
    /// No batch will come any more, and all that came were given to the operator.
    pub ended: bool,
}

/// A batch off the channel. Until `capability` is dropped the batch counts as not received.
pub(super) struct Arrived {
    pub batch: Batch,
    pub permit: Permit,
    pub capability: InputCapability<Time>,
}

impl Inlet {
    /// The next batch, if one is there.
    pub(super) fn next(&mut self) -> Result<Option<Arrived>> {
        let Self { handle, valve, codec, credits, .. } = self;
        let mut arrived = None;
        valve.set(true);
        handle.for_each(|capability, parcel| {
            valve.set(false);
            arrived = Some((capability, std::mem::take(&mut parcel.load)));
        });
        let Some((capability, load)) = arrived else { return Ok(None) };
        let (batch, permit) = match load {
            Load::Batch(batch, permit) => (batch, permit),
            Load::Received { bytes, from_process, cost } => {
                let credit = credits.get(from_process as usize).filter(|_| cost > 0);
                let permit = credit.map_or(Permit::None, |c| Permit::Remote(c.clone(), cost));
                (wire::decode(&bytes, codec.as_deref())?, permit)
            }
            Load::Empty | Load::Encoded { .. } => unreachable!("a received parcel is full and decoded here"),
        };
        Ok(Some(Arrived { batch, permit, capability }))
    }

    /// Throws away what is there.
    pub(super) fn discard(&mut self) {
        self.valve.set(true);
        self.handle.for_each(|_, parcel| parcel.load = Load::Empty);
    }
}
