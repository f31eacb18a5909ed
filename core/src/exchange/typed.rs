use super::rows::{Emit, TargetRows};
use crate::codec::RecordCodec;
use crate::runtime::Partitioner;
use crate::stream::{Data, KeySelector};
use crate::{Batch, Result};
use fluvial_memory::{KeyWidth, NormalizedKey, RowShape, hash};
use std::marker::PhantomData;

/// Serializes typed records into rows of their key and themselves, split by the hash of the key.
pub(crate) struct TypedToRows<T, S> {
    selector: S,
    codec: RecordCodec<T>,
    targets: TargetRows,
    key: Vec<u8>,
}

impl<T: Data, S: KeySelector<T>> TypedToRows<T, S> {
    pub(crate) fn new(selector: S) -> Self {
        let codec = RecordCodec::new();
        let targets = TargetRows::new(row_shape::<T, S>(&codec));
        Self { selector, codec, targets, key: Vec::new() }
    }
}

/// Rows of a selector's key and the record.
pub(crate) fn row_shape<T: Data, S: KeySelector<T>>(codec: &RecordCodec<T>) -> RowShape {
    match S::WIDTH {
        Some(width) => RowShape { key: KeyWidth::Fixed(width), row: codec.width().map(|w| w + width) },
        None => RowShape::VARIABLE,
    }
}

impl<T: Data, S: KeySelector<T>> Partitioner for TypedToRows<T, S> {
    fn split(&mut self, batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()> {
        let records = batch.typed_records::<T>()?;
        let batches = self.targets.batches(targets);
        for record in &records {
            self.key.clear();
            self.selector.encode(record, &mut self.key);
            let hash = hash::hash_bytes(&self.key);
            let rows = &mut batches[hash::target(hash, targets)];
            rows.push_keyed(&self.key, hash, |out| self.codec.encode(record, out))?;
        }
        self.targets.send_full(emit)
    }

    fn flush(&mut self, _targets: usize, emit: Emit<'_>) -> Result<()> {
        self.targets.flush(emit)
    }
}

/// Splits a batch of typed records, with their event times, into one for each target that gets some.
pub(crate) fn split_typed<T: Data>(
    mut batch: Batch,
    targets: usize,
    mut target: impl FnMut(&T) -> usize,
    emit: Emit<'_>,
) -> Result<()> {
    let times = batch.event_times.take();
    let mut parts: Vec<(Vec<T>, Vec<i64>)> = (0..targets).map(|_| Default::default()).collect();
    for (i, record) in batch.typed_records::<T>()?.into_iter().enumerate() {
        let part = &mut parts[target(&record)];
        part.0.push(record);
        part.1.extend(times.as_ref().map(|t| t[i]));
    }
    for (target, (records, times)) in parts.into_iter().enumerate().filter(|(_, p)| !p.0.is_empty()) {
        let mut batch = Batch::typed(records);
        batch.event_times = (!times.is_empty()).then_some(times);
        emit(target, batch)?;
    }
    Ok(())
}

/// Splits typed records by the key group of a key and leaves them as they are.
pub(crate) struct TypedByHash<T, S> {
    selector: S,
    key: Vec<u8>,
    record: PhantomData<fn(T)>,
}

impl<T: Data, S: KeySelector<T>> TypedByHash<T, S> {
    pub(crate) fn new(selector: S) -> Self {
        Self { selector, key: Vec::new(), record: PhantomData }
    }
}

impl<T: Data, S: KeySelector<T>> Partitioner for TypedByHash<T, S> {
    fn split(&mut self, mut batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()> {
        batch.position = None;
        if targets == 1 {
            return emit(0, batch);
        }
        let Self { selector, key, .. } = self;
        let target = |record: &T| {
            key.clear();
            selector.encode(record, key);
            hash::group_owner(hash::key_group(hash::hash_bytes(key)), targets)
        };
        split_typed(batch, targets, target, emit)
    }

    fn flush(&mut self, _targets: usize, _emit: Emit<'_>) -> Result<()> {
        Ok(())
    }
}

/// Splits typed records by the hash of a key, as [`TypedToRows`] does, and leaves them as they are.
pub(crate) struct TypedByTarget<T, F> {
    select: F,
    key: Vec<u8>,
    parts: Vec<Vec<T>>,
}

/// Records that are gathered for a target before they are sent.
const SEND_RECORDS: usize = 2048;

impl<T, F> TypedByTarget<T, F> {
    pub(crate) fn new(select: F) -> Self {
        Self { select, key: Vec::new(), parts: Vec::new() }
    }
}

impl<T: Data, K: NormalizedKey, F: Fn(&T) -> K> Partitioner for TypedByTarget<T, F> {
    fn split(&mut self, mut batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()> {
        batch.position = None;
        batch.event_times = None;
        if targets == 1 {
            return emit(0, batch);
        }
        self.parts.resize_with(targets, Vec::new);
        for record in batch.typed_records::<T>()? {
            self.key.clear();
            (self.select)(&record).encode(&mut self.key);
            let target = hash::target(hash::hash_bytes(&self.key), targets);
            let part = &mut self.parts[target];
            if part.capacity() == 0 {
                part.reserve_exact(SEND_RECORDS);
            }
            part.push(record);
            if part.len() == SEND_RECORDS {
                emit(target, Batch::typed(std::mem::take(part)))?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, _targets: usize, emit: Emit<'_>) -> Result<()> {
        for (target, part) in self.parts.iter_mut().enumerate().filter(|(_, part)| !part.is_empty()) {
            emit(target, Batch::typed(std::mem::take(part)))?;
        }
        Ok(())
    }
}
