use super::{BoxCollector, Context};
use crate::{Batch, Error, Operator, Output, Progress, Records, Result};
use arrow_array::RecordBatch;
use std::marker::PhantomData;

/// How the records of a chain come out of a batch.
pub(crate) trait Unpack<T>: 'static {
    /// Hands each record and its event time to `each`.
    fn unpack(batch: Batch, each: impl FnMut(T, i64)) -> Result<()>;
}

/// Values of a Rust type.
pub(crate) struct Typed;

impl<T: 'static> Unpack<T> for Typed {
    fn unpack(mut batch: Batch, mut each: impl FnMut(T, i64)) -> Result<()> {
        let times = batch.event_times.take();
        let records = batch.into_typed::<T>().map_err(|b| wrong::<T>(&b))?;
        match times {
            None => records.into_iter().for_each(|r| each(r, i64::MIN)),
            Some(times) => records.into_iter().zip(times).for_each(|(r, t)| each(r, t)),
        }
        Ok(())
    }
}

/// A table's record batches.
pub(crate) struct Columns;

impl Unpack<RecordBatch> for Columns {
    fn unpack(batch: Batch, mut each: impl FnMut(RecordBatch, i64)) -> Result<()> {
        match batch.records {
            Records::Table(records) => {
                each(records, i64::MIN);
                Ok(())
            }
            _ => Err(wrong::<RecordBatch>(&batch)),
        }
    }
}

fn wrong<T>(batch: &Batch) -> Error {
    Error::Plan(format!("expected records of `{}`, got {:?}", std::any::type_name::<T>(), batch.records))
}

/// The operator at the head of a chain: takes batches apart and pushes their records.
pub(crate) struct ChainOperator<T, U> {
    first: BoxCollector<T>,
    unpack: PhantomData<U>,
}

impl<T: 'static, U: Unpack<T>> ChainOperator<T, U> {
    pub(crate) fn new(first: BoxCollector<T>) -> Self {
        Self { first, unpack: PhantomData }
    }
}

impl<T: 'static, U: Unpack<T>> Operator for ChainOperator<T, U> {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let position = batch.position;
        let mut context = Context::new(out);
        context.position = position;
        let first = &mut self.first;
        U::unpack(batch, |record, time| {
            context.time = time;
            first.push(record, &mut context);
        })?;
        self.first.end_batch(position, &mut context);
        context.check()?;
        Ok(Progress::Done)
    }

    fn end_superstep(&mut self, _superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        self.resume(out)
    }

    /// Only the end of a superstep is left undone.
    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        let progress = self.first.end_superstep(&mut context);
        context.check()?;
        Ok(progress)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        let progress = self.first.finish(&mut context);
        context.check()?;
        Ok(progress)
    }
}
