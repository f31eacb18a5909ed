//! What a user's function has emitted and has not been sent yet: the main output and side outputs.

use super::side::OutputTag;
use crate::chain::BATCH_RECORDS;
use crate::graph::TaskContext;
use crate::stream::Data;
use crate::{Batch, Error, Output, Result};
use std::any::{Any, TypeId};

/// Records with their event times on their way to one output port.
pub(crate) struct Outbox<U> {
    records: Vec<U>,
    /// As long as `records`, or empty while none has an event time.
    times: Vec<i64>,
    /// Room for so many is made at once: as the batch before had.
    room: usize,
}

impl<U> Default for Outbox<U> {
    fn default() -> Self {
        Self { records: Vec::new(), times: Vec::new(), room: BATCH_RECORDS }
    }
}

impl<U: Data> Outbox<U> {
    /// Adds a record; `time` is `i64::MIN` where it has none.
    #[inline]
    pub(crate) fn push(&mut self, record: U, time: i64) {
        if self.records.capacity() == 0 {
            self.records.reserve(self.room);
        }
        if time != i64::MIN || !self.times.is_empty() {
            if self.times.capacity() == 0 {
                self.times.reserve(self.room);
            }
            self.times.resize(self.records.len(), i64::MIN);
            self.times.push(time);
        }
        self.records.push(record);
    }

    #[inline]
    fn full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS
    }

    pub(crate) fn send(&mut self, port: usize, out: &mut dyn Output) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        self.room = self.records.len().next_power_of_two().clamp(16, BATCH_RECORDS);
        let mut batch = Batch::typed(std::mem::take(&mut self.records));
        batch.event_times = Some(std::mem::take(&mut self.times)).filter(|times| !times.is_empty());
        out.send(port, batch)
    }
}

/// An outbox, whatever its records.
trait AnyOutbox: Any {
    fn send(&mut self, port: usize, out: &mut dyn Output) -> Result<()>;
    fn full(&self) -> bool;
    fn as_any(&mut self) -> &mut dyn Any;
}

impl<U: Data> AnyOutbox for Outbox<U> {
    fn send(&mut self, port: usize, out: &mut dyn Output) -> Result<()> {
        Outbox::send(self, port, out)
    }
    fn full(&self) -> bool {
        Outbox::full(self)
    }
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// One side output that somebody asked for.
struct Side {
    name: String,
    record: TypeId,
    port: usize,
    /// Made with the first record.
    outbox: Option<Box<dyn AnyOutbox>>,
}

/// All outputs of one operator instance.
pub(crate) struct Outputs<U> {
    main: Outbox<U>,
    sides: Vec<Side>,
    /// Whether something has gone aside since sides were last looked at.
    aside: bool,
    error: Option<Error>,
}

impl<U: Data> Outputs<U> {
    pub(crate) fn new(context: &TaskContext) -> Self {
        let side = |(i, (name, record)): (usize, &(String, TypeId))| Side {
            name: name.clone(),
            record: *record,
            port: 1 + i,
            outbox: None,
        };
        Self { main: Outbox::default(), sides: context.sides().iter().enumerate().map(side).collect(), aside: false, error: None }
    }

    #[inline]
    pub(crate) fn push(&mut self, record: U, time: i64) {
        self.main.push(record, time);
    }

    /// Adds a record to a side output. Says whether somebody listens.
    pub(crate) fn push_side<V: Data>(&mut self, tag: &OutputTag<V>, record: V, time: i64) -> bool {
        let record_type = TypeId::of::<V>();
        let Some(side) = self.sides.iter_mut().find(|s| s.record == record_type && s.name == tag.name()) else {
            if self.sides.iter().any(|s| s.name == tag.name()) {
                let given = std::any::type_name::<V>();
                let message =
                    format!("side output `{}`: the operator gives records of `{given}`, it is read as another type", tag.name());
                self.fail(Error::Plan(message));
            }
            return false;
        };
        self.aside = true;
        let outbox = side.outbox.get_or_insert_with(|| Box::new(Outbox::<V>::default()));
        if let Some(outbox) = outbox.as_any().downcast_mut::<Outbox<V>>() {
            outbox.push(record, time);
        }
        true
    }

    /// Fails the job with the first error that is set, soon.
    pub(crate) fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// Sends what is large enough.
    #[inline]
    pub(crate) fn send_full(&mut self, out: &mut dyn Output) -> Result<()> {
        if self.main.full() {
            self.main.send(0, out)?;
        }
        if self.aside || self.error.is_some() {
            self.send_sides(out, false)?;
        }
        Ok(())
    }

    /// Sends everything.
    pub(crate) fn flush(&mut self, out: &mut dyn Output) -> Result<()> {
        self.main.send(0, out)?;
        self.send_sides(out, true)
    }

    fn send_sides(&mut self, out: &mut dyn Output, all: bool) -> Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.aside = false;
        for Side { port, outbox, .. } in &mut self.sides {
            if let Some(outbox) = outbox.as_mut().filter(|o| all || o.full()) {
                outbox.send(*port, out)?;
            }
        }
        Ok(())
    }
}
