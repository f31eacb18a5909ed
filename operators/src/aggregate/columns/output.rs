//! Results out of states.

use super::function::{Kind, Native, TotalType, by_native, by_total};
use super::number::{Stored, Total};
use super::{ColumnAggregates, Plan};
use arrow_array::builder::{BinaryBuilder, BinaryViewBuilder, FixedSizeBinaryBuilder, LargeBinaryBuilder};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, StringArray, make_array};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, i256};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType};
use fluvial_memory::{Error, Result, RowBatch};
use std::sync::Arc;

impl ColumnAggregates {
    /// Turns states, the payloads of these rows, into the columns of results, in the order of the aggregates.
    ///
    /// # Errors
    /// [`Error::Overflow`] if a sum does not fit its type.
    pub fn finish(&self, states: &RowBatch) -> Result<Vec<ArrayRef>> {
        let states: Vec<&[u8]> = (0..states.len()).map(|i| states.payload(i)).collect();
        self.plans.iter().enumerate().map(|(i, plan)| self.column_of(i, plan, &states)).collect()
    }

    /// The results of no rows at all, one row: what an aggregation without keys gives for an empty input.
    pub fn finish_empty(&self) -> Vec<ArrayRef> {
        let of_none = |plan: &Plan| match plan.kind {
            Kind::Count | Kind::CountStar => Arc::new(Int64Array::from(vec![0])) as ArrayRef,
            _ => arrow_array::new_null_array(&plan.output, 1),
        };
        self.plans.iter().map(of_none).collect()
    }

    fn column_of(&self, index: usize, plan: &Plan, states: &[&[u8]]) -> Result<ArrayRef> {
        let nulls = plan
            .flag
            .map(|_| NullBuffer::from_iter(states.iter().map(|state| plan.is_flagged(state))))
            .filter(|nulls| nulls.null_count() > 0);
        let at = plan.offset;
        match plan.kind {
            Kind::Count | Kind::CountStar => {
                let counts: Vec<_> = states.iter().map(|state| u64::load(&state[at..at + 8]) as i64).collect();
                Ok(Arc::new(Int64Array::from(counts)))
            }
            Kind::Sum(total, _) => plan.sums(total, states, nulls),
            Kind::Avg(total, _) => Ok(plan.means(total, states)),
            Kind::Pick(_, Native::Bool) => {
                let values = states.iter().map(|state| state[at] == 1).collect();
                Ok(Arc::new(BooleanArray::new(values, nulls)))
            }
            Kind::Pick(_, native) => by_native!(native, N => {
                let values: Vec<N> = states.iter().map(|state| N::load(&state[at..at + N::WIDTH])).collect();
                plan.primitive(values, nulls)
            }),
            Kind::PickBytes(_) => {
                let values = states.iter().map(|state| plan.is_flagged(state).then(|| self.picked(index, state)));
                bytes(&plan.output, values).map_err(|error| Error::Unsupported(format!("{}: {error}", plan.of)))
            }
        }
    }
}

impl Plan {
    fn sums(&self, total: TotalType, states: &[&[u8]], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let at = self.offset;
        let wide = || -> Vec<i128> {
            match total {
                TotalType::Wide => states.iter().map(|s| super::number::Wide::load(&s[at..at + 12]).0).collect(),
                _ => states.iter().map(|s| i128::load(&s[at..at + 16])).collect(),
            }
        };
        match (total, &self.output) {
            (TotalType::I64, _) => self.primitive(states.iter().map(|s| i64::load(&s[at..at + 8])).collect(), nulls),
            (TotalType::U64, _) => self.primitive(states.iter().map(|s| u64::load(&s[at..at + 8])).collect(), nulls),
            (TotalType::F64, _) => self.primitive(states.iter().map(|s| f64::load(&s[at..at + 8])).collect(), nulls),
            (TotalType::I256, DataType::Decimal256(precision, _)) => {
                let bound = (0..*precision).try_fold(i256::ONE, |bound, _| bound.checked_mul(i256::from_i128(10)));
                let sums: Vec<_> = states.iter().map(|s| i256::load(&s[at..at + 32])).collect();
                if bound.is_some_and(|bound| sums.iter().any(|sum| *sum >= bound || sum.wrapping_neg() >= bound)) {
                    return Err(self.overflow());
                }
                self.primitive(sums, nulls)
            }
            (_, DataType::Decimal128(precision, _)) => {
                let (sums, bound) = (wide(), 10u128.pow(u32::from(*precision)));
                if sums.iter().any(|sum| sum.unsigned_abs() >= bound) {
                    return Err(self.overflow());
                }
                self.primitive(sums, nulls)
            }
            (_, DataType::UInt64) => {
                let sums: Result<Vec<u64>> =
                    wide().into_iter().map(|sum| u64::try_from(sum).map_err(|_| self.overflow())).collect();
                self.primitive(sums?, nulls)
            }
            _ => {
                let sums: Result<Vec<i64>> =
                    wide().into_iter().map(|sum| i64::try_from(sum).map_err(|_| self.overflow())).collect();
                self.primitive(sums?, nulls)
            }
        }
    }

    fn means(&self, total: TotalType, states: &[&[u8]]) -> ArrayRef {
        let scale = match super::values_type(&self.of.data_type) {
            DataType::Decimal32(_, s) | DataType::Decimal64(_, s) | DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => *s,
            _ => 0,
        };
        let unit = 10f64.powi(i32::from(scale));
        by_total!(total, T => {
            let (at, end) = (self.offset, self.offset + T::WIDTH);
            let mean = |state: &&[u8]| {
                let count = u64::load(&state[end..end + 8]);
                (count > 0).then(|| T::load(&state[at..end]).float() / unit / count as f64)
            };
            Arc::new(Float64Array::from_iter(states.iter().map(mean)))
        })
    }

    /// Values as the array that the result's type asks for.
    fn primitive<N: ArrowNativeType>(&self, values: Vec<N>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let data = ArrayData::builder(self.output.clone())
            .len(values.len())
            .add_buffer(Buffer::from_vec(values))
            .nulls(nulls)
            .build()
            .map_err(|error| Error::Unsupported(format!("{}: {error}", self.of)))?;
        Ok(make_array(data))
    }
}

/// Byte strings as the array that the type asks for.
fn bytes<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a [u8]>>) -> std::result::Result<ArrayRef, ArrowError> {
    Ok(match data_type {
        DataType::FixedSizeBinary(width) => {
            let mut builder = FixedSizeBinaryBuilder::new(*width);
            for value in values {
                match value {
                    Some(value) => builder.append_value(value)?,
                    None => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        DataType::Utf8View | DataType::BinaryView => {
            let mut builder = BinaryViewBuilder::new();
            values.for_each(|value| builder.append_option(value));
            let array = builder.finish();
            if *data_type == DataType::Utf8View { Arc::new(array.to_string_view()?) } else { Arc::new(array) }
        }
        DataType::LargeUtf8 | DataType::LargeBinary => {
            let mut builder = LargeBinaryBuilder::new();
            values.for_each(|value| builder.append_option(value));
            let array = builder.finish();
            match data_type {
                DataType::LargeUtf8 => Arc::new(LargeStringArray::try_from_binary(array)?) as ArrayRef,
                _ => Arc::new(array),
            }
        }
        _ => {
            let mut builder = BinaryBuilder::new();
            values.for_each(|value| builder.append_option(value));
            let array = builder.finish();
            match data_type {
                DataType::Utf8 => Arc::new(StringArray::try_from_binary(array)?) as ArrayRef,
                _ => Arc::new(array),
            }
        }
    })
}
