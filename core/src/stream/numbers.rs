use super::Data;
use super::aggregate::Accumulate;
use crate::{Batch, Error, Operator, Output, Progress, Records, Result};
use fluvial_memory::RowBatch;
use fluvial_operators::aggregate::Aggregation;
use std::marker::PhantomData;

/// A number that can be summed: the integers, whose sum must fit, and the floats, which just add.
///
/// ```
/// use fluvial_core::Number;
/// assert_eq!(Number::checked_add(200u8, 50), Some(250));
/// assert_eq!(Number::checked_add(200u8, 56), None);
/// ```
pub trait Number: Data + Sync + Copy {
    /// The sum of nothing.
    const ZERO: Self;
    /// Bytes of a sum that is kept.
    const WIDTH: usize;
    /// The sum, if it fits.
    fn checked_add(self, other: Self) -> Option<Self>;
    /// Writes the number to [`Number::WIDTH`] bytes.
    fn write(self, bytes: &mut [u8]);
    /// Reads what [`Number::write`] wrote.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($type:ty: $zero:literal, $add:expr;)*) => {$(
        impl Number for $type {
            const ZERO: Self = $zero;
            const WIDTH: usize = size_of::<$type>();
            #[inline]
            fn checked_add(self, other: Self) -> Option<Self> {
                let add: fn($type, $type) -> Option<$type> = $add;
                add(self, other)
            }
            #[inline]
            fn write(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn read(bytes: &[u8]) -> Self {
                let mut word = [0; size_of::<$type>()];
                word.copy_from_slice(bytes);
                Self::from_le_bytes(word)
            }
        }
    )*};
}

number! {
    u8: 0, u8::checked_add;
    u16: 0, u16::checked_add;
    u32: 0, u32::checked_add;
    u64: 0, u64::checked_add;
    u128: 0, u128::checked_add;
    usize: 0, usize::checked_add;
    i8: 0, i8::checked_add;
    i16: 0, i16::checked_add;
    i32: 0, i32::checked_add;
    i64: 0, i64::checked_add;
    i128: 0, i128::checked_add;
    isize: 0, isize::checked_add;
    f32: 0.0, |a, b| Some(a + b);
    f64: 0.0, |a, b| Some(a + b);
}

/// Sums a number of each record.
pub(super) struct Sum<F, V> {
    value: F,
    sum: PhantomData<fn() -> V>,
}

impl<F, V> Sum<F, V> {
    pub(super) fn new(value: F) -> Self {
        Self { value, sum: PhantomData }
    }
}

impl<F: Clone, V> Clone for Sum<F, V> {
    fn clone(&self) -> Self {
        Self::new(self.value.clone())
    }
}

fn add<V: Number>(state: &mut [u8], value: V) -> fluvial_memory::Result<()> {
    let sum = V::read(state).checked_add(value).ok_or_else(|| fluvial_memory::Error::Overflow {
        what: "a sum".to_owned(),
        type_name: std::any::type_name::<V>().to_owned(),
    })?;
    sum.write(state);
    Ok(())
}

impl<F, V: Number> Aggregation for Sum<F, V> {
    fn width(&self) -> Option<usize> {
        Some(V::WIDTH)
    }
    fn init(&self, state: &mut [u8]) {
        V::ZERO.write(state);
    }
    #[inline]
    fn merge(&self, state: &mut [u8], other: &[u8]) -> fluvial_memory::Result<()> {
        add(state, V::read(other))
    }
}

impl<T, F: Fn(&T) -> V + Clone + Send + Sync + 'static, V: Number> Accumulate<T> for Sum<F, V> {
    type Output = V;
    fn lift(&self, record: T, out: &mut Vec<u8>) -> fluvial_memory::Result<()> {
        let start = out.len();
        out.resize(start + V::WIDTH, 0);
        (self.value)(&record).write(&mut out[start..]);
        Ok(())
    }
    #[inline]
    fn add(&self, record: T, state: &mut [u8]) -> Result<()> {
        Ok(add(state, (self.value)(&record))?)
    }
    fn finish(&self, state: &[u8]) -> Result<V> {
        Ok(V::read(state))
    }
}

/// Makes batches of serialized rows into what they stand for.
pub(super) struct Decode<F>(pub(super) F);

impl<F: FnMut(&RowBatch) -> Result<Batch>> Operator for Decode<F> {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        match batch.records {
            Records::Rows(rows) => out.send(0, (self.0)(&rows)?)?,
            other => return Err(Error::Plan(format!("expected serialized rows, got {other:?}"))),
        }
        Ok(Progress::Done)
    }
}
