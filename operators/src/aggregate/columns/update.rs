//! The loops over columns.

use super::function::{Kind, Native, Pick, TotalType, by_native, by_total};
use super::number::{Number, Stored, Total, Wide};
use super::{ColumnAggregates, Groups, Plan, replace_if};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{ArrowNativeType, NullBuffer, i256};
use arrow_data::ArrayData;
use fluvial_memory::Result;
use half::f16;

impl ColumnAggregates {
    /// Adds the rows `start..start + groups.len()` of the columns to the fixed parts of their groups' states. The columns
    /// are those that [`ColumnAggregates::columns`] gave.
    pub(in crate::aggregate) fn update(&self, groups: &mut Groups<'_>, columns: &[Option<ArrayRef>], start: usize) -> Result<()> {
        // Flags that every row sets are set together, in one pass.
        let mut common = vec![0u8; self.flags];
        for (plan, column) in self.plans.iter().zip(columns) {
            let Some(column) = column else {
                count(groups, plan.offset, None);
                continue;
            };
            let column = column.slice(start, groups.len());
            let nulls = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
            if plan.update(groups, &column, nulls.as_ref()) {
                return Err(plan.overflow());
            }
            match (plan.flag, nulls) {
                (Some(flag), None) => common[flag / 8] |= 1 << (flag % 8),
                (Some(flag), Some(nulls)) => {
                    nulls.valid_indices().for_each(|i| groups.at(i, flag / 8, 1)[0] |= 1 << (flag % 8));
                }
                (None, _) => {}
            }
        }
        for (byte, &mask) in common.iter().enumerate().filter(|&(_, &mask)| mask != 0) {
            (0..groups.len()).for_each(|i| groups.at(i, byte, 1)[0] |= mask);
        }
        Ok(())
    }
}

impl Plan {
    /// Adds a column; says whether a sum overflowed.
    fn update(&self, groups: &mut Groups<'_>, column: &ArrayRef, nulls: Option<&NullBuffer>) -> bool {
        let data = column.to_data();
        match self.kind {
            Kind::Count | Kind::CountStar => count(groups, self.offset, nulls),
            Kind::Sum(total, native) => return self.sum(total, native, groups, &data, nulls),
            Kind::Avg(total, native) => {
                count(groups, self.offset + by_total!(total, T => T::WIDTH), nulls);
                return self.sum(total, native, groups, &data, nulls);
            }
            Kind::Pick(Pick::First, native) => by_native!(native, N => self.first(groups, values::<N>(&data), nulls)),
            Kind::Pick(Pick::Least, native) => by_native!(native, N => {
                let values = values::<N>(&data);
                each(nulls, groups.len(), |i| replace_if(Pick::Least, groups.at(i, self.offset, N::WIDTH), values[i]));
            }),
            Kind::Pick(Pick::Greatest, native) => by_native!(native, N => {
                let values = values::<N>(&data);
                each(nulls, groups.len(), |i| replace_if(Pick::Greatest, groups.at(i, self.offset, N::WIDTH), values[i]));
            }),
            Kind::PickBytes(_) => {}
        }
        false
    }

    fn first<N: Number>(&self, groups: &mut Groups<'_>, values: &[N], nulls: Option<&NullBuffer>) {
        let Some(flag) = self.flag else { return };
        each(nulls, groups.len(), |i| {
            let flags = &mut groups.at(i, flag / 8, 1)[0];
            if *flags >> (flag % 8) & 1 == 0 {
                *flags |= 1 << (flag % 8);
                values[i].store(groups.at(i, self.offset, N::WIDTH));
            }
        });
    }

    fn sum(
        &self,
        total: TotalType,
        native: Native,
        groups: &mut Groups<'_>,
        data: &ArrayData,
        nulls: Option<&NullBuffer>,
    ) -> bool {
        let at = self.offset;
        match (total, native) {
            (TotalType::I64, Native::Bool) => sum(groups, at, values::<u8>(data), nulls, i64::from),
            (TotalType::I64, Native::I8) => sum(groups, at, values::<i8>(data), nulls, i64::from),
            (TotalType::I64, Native::I16) => sum(groups, at, values::<i16>(data), nulls, i64::from),
            (TotalType::I64, _) => sum(groups, at, values::<i32>(data), nulls, i64::from),
            (TotalType::U64, Native::U8) => sum(groups, at, values::<u8>(data), nulls, u64::from),
            (TotalType::U64, Native::U16) => sum(groups, at, values::<u16>(data), nulls, u64::from),
            (TotalType::U64, _) => sum(groups, at, values::<u32>(data), nulls, u64::from),
            (TotalType::Wide, Native::I32) => sum(groups, at, values::<i32>(data), nulls, |v| Wide(v.into())),
            (TotalType::Wide, Native::I64) => sum(groups, at, values::<i64>(data), nulls, |v| Wide(v.into())),
            (TotalType::Wide, Native::U64) => sum(groups, at, values::<u64>(data), nulls, |v| Wide(v.into())),
            (TotalType::Wide, _) => sum(groups, at, values::<i128>(data), nulls, Wide),
            (TotalType::I128, _) => sum(groups, at, values::<i128>(data), nulls, |v| v),
            (TotalType::I256, _) => sum(groups, at, values::<i256>(data), nulls, |v| v),
            (TotalType::F64, Native::F16) => sum(groups, at, values::<f16>(data), nulls, f64::from),
            (TotalType::F64, Native::F32) => sum(groups, at, values::<f32>(data), nulls, f64::from),
            (TotalType::F64, _) => sum(groups, at, values::<f64>(data), nulls, |v| v),
        }
    }
}

/// The values of a primitive array, those at nulls included.
fn values<N: ArrowNativeType>(data: &ArrayData) -> &[N] {
    &data.buffers()[0].typed_data::<N>()[data.offset()..data.offset() + data.len()]
}

/// Calls `f` with each row that is not null.
#[inline(always)]
fn each(nulls: Option<&NullBuffer>, rows: usize, mut f: impl FnMut(usize)) {
    match nulls {
        None => (0..rows).for_each(f),
        Some(nulls) => nulls.valid_slices().for_each(|(from, to)| (from..to).for_each(&mut f)),
    }
}

fn count(groups: &mut Groups<'_>, offset: usize, nulls: Option<&NullBuffer>) {
    each(nulls, groups.len(), |i| {
        let state = groups.at(i, offset, 8);
        (u64::load(state) + 1).store(state);
    });
}

/// Adds every value to its group's total; says whether one overflowed.
#[inline(always)]
fn sum<N: Copy, T: Total>(
    groups: &mut Groups<'_>,
    offset: usize,
    values: &[N],
    nulls: Option<&NullBuffer>,
    total: impl Fn(N) -> T,
) -> bool {
    let mut overflow = false;
    each(nulls, groups.len(), |i| {
        let state = groups.at(i, offset, T::WIDTH);
        let (sum, over) = T::load(state).plus(total(values[i]));
        sum.store(state);
        overflow |= over;
    });
    overflow
}
