use super::{Collector, Context};
use crate::{Batch, Position, Progress, Records};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

/// Records a typed batch holds before it is sent.
pub(crate) const BATCH_RECORDS: usize = 1024;

/// The end of a typed chain: an output port.
pub(crate) struct TypedPort<T> {
    port: usize,
    records: Vec<T>,
    /// Event times beside the records; empty while none of them has one.
    times: Vec<i64>,
    /// Room for so many is made at once: as the batch before had, or twice as much where that was not enough.
    room: usize,
    order: Order,
}

/// Numbers the pieces into which one positioned input batch falls.
#[derive(Default)]
struct Order {
    range: u64,
    sequence: u64,
}

impl Order {
    /// The position of the next piece of the input batch at `position`.
    fn piece(&mut self, position: Position, last_piece: bool) -> Position {
        if self.range != position.range {
            *self = Self { range: position.range, sequence: 0 };
        }
        let sequence = self.sequence;
        self.sequence += 1;
        Position { range: position.range, sequence, last: position.last && last_piece }
    }
}

impl<T: Clone + Send + 'static> TypedPort<T> {
    pub(crate) fn new(port: usize) -> Self {
        Self { port, records: Vec::new(), times: Vec::new(), room: BATCH_RECORDS, order: Order::default() }
    }

    /// The first record with an event time came behind others without.
    #[cold]
    fn fill(&mut self) {
        self.times.reserve(self.records.capacity());
        self.times.resize(self.records.len() - 1, i64::MIN);
    }

    fn send(&mut self, position: Option<Position>, context: &mut Context<'_>) {
        if context.failed() {
            self.times.clear();
            return self.records.clear();
        }
        // A source at a low rate sends a few records at a time.
        self.room = self.records.len().next_power_of_two().clamp(16, BATCH_RECORDS);
        let mut batch = Batch::typed(std::mem::take(&mut self.records));
        if !self.times.is_empty() {
            batch.event_times = Some(std::mem::take(&mut self.times));
        }
        batch.position = position;
        if let Err(error) = context.out.send(self.port, batch) {
            context.fail(error);
        }
    }
}

impl<T: Clone + Send + 'static> Collector<T> for TypedPort<T> {
    #[inline]
    fn push(&mut self, record: T, context: &mut Context<'_>) {
        if self.records.capacity() == 0 {
            self.records.reserve(self.room);
            if context.time != i64::MIN {
                self.times.reserve(self.room);
            }
        }
        self.records.push(record);
        if context.time != i64::MIN || !self.times.is_empty() {
            if self.times.len() + 1 < self.records.len() {
                self.fill();
            }
            self.times.push(context.time);
        }
        // A positioned batch is cut at its end only: where it stands is not known before.
        if self.records.len() >= BATCH_RECORDS && context.position.is_none() {
            self.send(None, context);
        }
    }

    fn end_batch(&mut self, position: Option<Position>, context: &mut Context<'_>) {
        match position {
            Some(position) => {
                let position = self.order.piece(position, true);
                self.send(Some(position), context);
            }
            None if self.records.is_empty() => {}
            None => self.send(None, context),
        }
    }

    fn finish(&mut self, _context: &mut Context<'_>) -> Progress {
        Progress::Done
    }
}

/// The end of a table's chain: an output port.
pub(crate) struct TablePort {
    port: usize,
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    order: Order,
}

impl TablePort {
    pub(crate) fn new(port: usize, schema: SchemaRef) -> Self {
        Self { port, schema, held: Vec::new(), order: Order::default() }
    }
}

impl Collector<RecordBatch> for TablePort {
    fn push(&mut self, batch: RecordBatch, context: &mut Context<'_>) {
        if batch.num_rows() > 0 {
            self.held.push(batch);
        }
        if context.position.is_none() {
            self.end_batch(None, context);
        }
    }

    fn end_batch(&mut self, position: Option<Position>, context: &mut Context<'_>) {
        let mut held = std::mem::take(&mut self.held).into_iter().peekable();
        // The last batch of a range is announced even if a filter left nothing of it.
        let Some(position) = position else {
            return held.for_each(|records| send(self.port, Records::Table(records), None, context));
        };
        if held.peek().is_none() {
            let place = self.order.piece(position, true);
            return send(self.port, Records::Table(RecordBatch::new_empty(self.schema.clone())), Some(place), context);
        }
        while let Some(records) = held.next() {
            let place = self.order.piece(position, held.peek().is_none());
            send(self.port, Records::Table(records), Some(place), context);
        }
    }

    fn finish(&mut self, _context: &mut Context<'_>) -> Progress {
        Progress::Done
    }
}

fn send(port: usize, records: Records, position: Option<Position>, context: &mut Context<'_>) {
    if context.failed() {
        return;
    }
    let batch = Batch { records, event_times: None, changes: None, position };
    if let Err(error) = context.out.send(port, batch) {
        context.fail(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Output, Result};

    #[derive(Default)]
    struct Sent(Vec<Batch>);

    impl Output for Sent {
        fn send(&mut self, _port: usize, batch: Batch) -> Result<()> {
            self.0.push(batch);
            Ok(())
        }
        fn congested(&self, _port: usize) -> bool {
            false
        }
        fn set_timer(&mut self, _at: i64) {}
    }

    #[test]
    fn records_with_and_without_event_times_keep_them_apart() {
        let mut sent = Sent::default();
        let mut context = Context::new(&mut sent);
        let mut port = TypedPort::<u64>::new(0);
        for batch in [[None, Some(5), None, Some(7)], [None; 4], [Some(1), None, None, None]] {
            for (record, time) in batch.into_iter().enumerate() {
                context.time = time.unwrap_or(i64::MIN);
                port.push(record as u64, &mut context);
            }
            port.end_batch(None, &mut context);
        }
        let times: Vec<_> = sent.0.iter().map(|b| (b.len(), b.event_times.clone())).collect();
        let none = i64::MIN;
        assert_eq!(times, [(4, Some(vec![none, 5, none, 7])), (4, None), (4, Some(vec![1, none, none, none]))]);
    }
}
