//! Aggregates over Arrow columns.
//!
//! A state is laid out as
//!
//! | bytes | what |
//! |---|---|
//! | one a started 8 of the aggregates that need it | flags: there was a value |
//! | [`Kind::width`] each, in order | counts, sums, least and greatest values of fixed width, little endian, unaligned |
//! | 4 + length, each | least, greatest, first strings and binaries, with their lengths: only then do states vary |
//!
//! A batch is aggregated column by column: first the group of every row is found, then each aggregate runs one loop
//! over its array and the rows' states.
//!
//! **Sums do not depend on the order of rows** (floats aside): what can overflow on the way but not in the end is
//! collected in a wider integer, and is checked against the result's type at the end.

mod function;
mod groups;
mod number;
mod output;
mod picked;
mod update;

pub use function::{AggregateFunction, ColumnAggregate};
pub(super) use groups::Groups;

use super::Aggregation;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt8Array};
use arrow_schema::DataType;
use fluvial_memory::{Error, Result};
use function::{Kind, Pick, by_native, by_total, values_type};
use number::{Number, Stored, Total};
use std::sync::Arc;

/// Several aggregates over the columns of a table, as one [`Aggregation`].
///
/// ```
/// use arrow_array::{ArrayRef, Int64Array, cast::AsArray, types::Int64Type};
/// use arrow_schema::DataType;
/// use fluvial_memory::{KeyWidth, MemoryManager, Progress, RowBatch, RowShape, SpillConfig, SpillManager};
/// use fluvial_operators::aggregate::{AggregateFunction, ColumnAggregate, ColumnAggregates, HashAggregate};
/// use std::sync::Arc;
///
/// let sum = ColumnAggregate::new(AggregateFunction::Sum, 0, DataType::Int64, "amount");
/// let aggregates = ColumnAggregates::new(&[sum, ColumnAggregate::count_star()])?;
/// let memory = MemoryManager::new(4 << 20)?;
/// let spill = SpillManager::new(SpillConfig::default())?;
/// let reservation = memory.reserve("group by", HashAggregate::<ColumnAggregates>::MINIMUM_SEGMENTS)?;
/// let mut groups =
///     HashAggregate::new(reservation, spill, KeyWidth::Fixed(1), aggregates.clone(), Default::default(), None)?;
///
/// let mut keys = RowBatch::new(RowShape::fixed(1, 0));
/// [b"a", b"b", b"a"].iter().for_each(|key| keys.push(*key, &[]));
/// let amounts: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2)]));
/// groups.update_batch(&keys, &[amounts])?;
/// groups.end()?;
///
/// let mut states = RowBatch::new(groups.shape());
/// assert_eq!(groups.pull(&mut states, 1024)?, Progress::Done);
/// let columns = aggregates.finish(&states)?;
/// let a = (0..2).find(|&i| states.key(i) == b"a").unwrap();
/// assert_eq!(columns[0].as_primitive::<Int64Type>().value(a), 3);
/// assert!(columns[0].is_null(1 - a));
/// assert_eq!(columns[1].as_primitive::<Int64Type>().value(a), 2);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ColumnAggregates {
    plans: Vec<Plan>,
    /// Bytes of flags.
    flags: usize,
    /// Bytes of the part that has a fixed width.
    fixed: usize,
    /// The state of no rows, the empty strings and binaries included.
    initial: Vec<u8>,
    /// Which plans have their values behind the fixed part.
    picked: Vec<usize>,
}

/// One aggregate and its place in a state.
#[derive(Clone, Debug)]
struct Plan {
    of: ColumnAggregate,
    kind: Kind,
    offset: usize,
    /// Number of its flag, if it needs one.
    flag: Option<usize>,
    output: DataType,
}

impl Plan {
    fn overflow(&self) -> Error {
        Error::Overflow { what: self.of.to_string(), type_name: self.output.to_string() }
    }

    #[inline]
    fn is_flagged(&self, state: &[u8]) -> bool {
        self.flag.is_none_or(|flag| state[flag / 8] >> (flag % 8) & 1 == 1)
    }
}

impl ColumnAggregates {
    /// Plans these aggregates.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if a function is not defined for its column's type.
    pub fn new(aggregates: &[ColumnAggregate]) -> Result<Self> {
        let mut plans = Vec::with_capacity(aggregates.len());
        let mut flags = 0;
        for of in aggregates {
            let kind = of.kind()?;
            let flag = kind.needs_flag(of.nullable).then_some(flags);
            flags += usize::from(flag.is_some());
            plans.push(Plan { of: of.clone(), kind, offset: 0, flag, output: of.output_type()? });
        }
        let flags = flags.div_ceil(8);
        let mut fixed = flags;
        for plan in &mut plans {
            plan.offset = fixed;
            fixed += plan.kind.width();
        }
        let picked: Vec<_> = (0..plans.len()).filter(|&i| matches!(plans[i].kind, Kind::PickBytes(_))).collect();
        let mut initial = vec![0; fixed + 4 * picked.len()];
        for plan in &plans {
            plan.kind.init(&mut initial[plan.offset..plan.offset + plan.kind.width()]);
        }
        Ok(Self { plans, flags, fixed, initial, picked })
    }

    /// The aggregates.
    pub fn aggregates(&self) -> impl ExactSizeIterator<Item = &ColumnAggregate> {
        self.plans.iter().map(|plan| &plan.of)
    }

    /// The types of the results, in order.
    pub fn output_types(&self) -> impl ExactSizeIterator<Item = &DataType> {
        self.plans.iter().map(|plan| &plan.output)
    }

    /// Whether a result can be null.
    pub fn output_nullable(&self, aggregate: usize) -> bool {
        let plan = &self.plans[aggregate];
        plan.of.nullable && !matches!(plan.kind, Kind::Count | Kind::CountStar)
    }

    /// Checks the columns of a batch, and gives those with dictionaries their values.
    pub(super) fn columns(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Option<ArrayRef>>> {
        self.plans.iter().map(|plan| plan.column(columns, rows)).collect()
    }

    /// Bytes of a state's fixed part.
    pub(super) fn fixed_width(&self) -> usize {
        self.fixed
    }

    /// Merges the part of fixed width.
    #[inline]
    fn merge_fixed(&self, state: &mut [u8], other: &[u8]) -> Result<()> {
        for plan in &self.plans {
            let at = plan.offset..plan.offset + plan.kind.width();
            let overflow = match plan.kind {
                Kind::Count | Kind::CountStar => add::<u64>(&mut state[at.clone()], &other[at]),
                Kind::Sum(total, _) => by_total!(total, T => add::<T>(&mut state[at.clone()], &other[at])),
                Kind::Avg(total, _) => {
                    let count = at.end - 8;
                    add::<u64>(&mut state[count..at.end], &other[count..at.end])
                        | by_total!(total, T => add::<T>(&mut state[at.start..count], &other[at.start..count]))
                }
                Kind::Pick(pick, native) => {
                    // The state of no values loses against any other, except for the first value.
                    let absent = pick == Pick::First && (plan.is_flagged(state) || !plan.is_flagged(other));
                    if !absent {
                        by_native!(native, N => {
                            let new = N::load(&other[at.clone()]);
                            replace_if(pick, &mut state[at.clone()], new);
                        });
                    }
                    false
                }
                Kind::PickBytes(_) => false,
            };
            if overflow {
                return Err(plan.overflow());
            }
        }
        for (state, other) in state[..self.flags].iter_mut().zip(other) {
            *state |= other;
        }
        Ok(())
    }
}

/// Adds, and says whether that overflows.
#[inline(always)]
fn add<T: Total>(state: &mut [u8], other: &[u8]) -> bool {
    let (sum, overflow) = T::load(state).plus(T::load(other));
    sum.store(state);
    overflow
}

/// Takes a value in place of the one at hand if it comes before, or after, or in any case where the first is wanted.
#[inline(always)]
fn replace_if<N: Number>(pick: Pick, state: &mut [u8], new: N) {
    let old = N::load(state);
    let better = match pick {
        Pick::Least => new.less(old),
        Pick::Greatest => old.less(new),
        Pick::First => true,
    };
    if better {
        new.store(state);
    }
}

impl Plan {
    /// The column that the aggregate reads; none for `count(*)`.
    fn column(&self, columns: &[ArrayRef], rows: usize) -> Result<Option<ArrayRef>> {
        if self.kind == Kind::CountStar {
            return Ok(None);
        }
        let index = self.of.column;
        let Some(column) = columns.get(index) else {
            let have = columns.len();
            return Err(Error::Unsupported(format!("{}: column {index} wanted, the batch has {have}", self.of)));
        };
        let found = column.data_type();
        if column.len() != rows || (self.kind != Kind::Count && values_type(found) != values_type(&self.of.data_type)) {
            let wanted = &self.of.data_type;
            let have = column.len();
            return Err(Error::Unsupported(format!(
                "{}: {rows} values of type {wanted} wanted, {have} of type {found} found",
                self.of
            )));
        }
        let column = match column.as_any_dictionary_opt() {
            Some(dictionary) => arrow_select::take::take(dictionary.values(), dictionary.keys(), None)
                .map_err(|error| Error::Unsupported(format!("{}: {error}", self.of)))?,
            None => column.clone(),
        };
        let column = match column.as_boolean_opt() {
            Some(booleans) if self.kind != Kind::Count => {
                let bytes = booleans.values().iter().map(u8::from).collect::<Vec<_>>();
                Arc::new(UInt8Array::new(bytes.into(), booleans.nulls().cloned()))
            }
            _ => column,
        };
        if !self.of.nullable && column.logical_null_count() > 0 {
            return Err(Error::Unsupported(format!("{}: a null in a column that was said to have none", self.of)));
        }
        Ok(Some(column))
    }
}

impl Aggregation for ColumnAggregates {
    fn width(&self) -> Option<usize> {
        self.picked.is_empty().then_some(self.fixed)
    }

    fn init(&self, state: &mut [u8]) {
        state.copy_from_slice(&self.initial);
    }

    #[inline]
    fn merge(&self, state: &mut [u8], other: &[u8]) -> Result<()> {
        self.merge_fixed(state, other)
    }

    fn merge_into(&self, state: &mut [u8], other: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        if !self.choices(state, other).any(|better| better) {
            self.merge_fixed(state, other)?;
            return Ok(false);
        }
        out.extend_from_slice(&state[..self.fixed]);
        self.merge_fixed(out, other)?;
        self.merge_picks(state, other, out);
        Ok(true)
    }
}
