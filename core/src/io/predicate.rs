//! Conditions on single columns that a scan applies while it reads.
//!
//! They are used three times: against the minima and maxima of row groups and pages, to skip what cannot match; against
//! Bloom filters; and against the values themselves. The first two may only err on the side of reading.
//!
//! Values compare as everywhere in the engine: a null matches nothing but `IsNull`, NaN equals NaN and is greater than
//! every number, -0.0 equals 0.0, strings order by bytes.

use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Datum, Scalar, UInt64Array};
use arrow_buffer::BooleanBuffer;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_ord::cmp;
use arrow_schema::{DataType, Schema};
use std::sync::Arc;

/// A condition on one column. Several together mean all of them.
///
/// ```
/// use arrow_array::Int64Array;
/// use fluvial_core::io::{ColumnPredicate, PredicateOp};
/// use std::sync::Arc;
/// let at_least_seven = ColumnPredicate::new(0, PredicateOp::GtEq, Arc::new(Int64Array::from(vec![7])));
/// let one_of = ColumnPredicate::new(2, PredicateOp::In, Arc::new(Int64Array::from(vec![1, 2, 3])));
/// let present = ColumnPredicate::is_not_null(1);
/// # let _ = (at_least_seven, one_of, present);
/// ```
#[derive(Clone, Debug)]
pub struct ColumnPredicate {
    /// Index of the column in the input's schema.
    pub column: usize,
    /// How it compares.
    pub op: PredicateOp,
    /// What it compares to: one value; any number of them for [`PredicateOp::In`]; none for the tests for null.
    pub values: ArrayRef,
}

/// How a column compares to the value of a [`ColumnPredicate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredicateOp {
    /// Less than the value.
    Lt,
    /// Less than or equal to it.
    LtEq,
    /// Equal to it.
    Eq,
    /// Greater than or equal to it.
    GtEq,
    /// Greater than it.
    Gt,
    /// Different from it, and not null.
    NotEq,
    /// Null.
    IsNull,
    /// Not null.
    IsNotNull,
    /// Equal to one of the values.
    In,
}

/// Most values of an `In` that are compared to statistics one by one.
const LISTED: usize = 64;

/// What is known of pieces of a column (row groups, pages) without reading them; a null where it is not known.
pub(super) struct Statistics {
    pub(super) minima: ArrayRef,
    pub(super) maxima: ArrayRef,
    pub(super) nulls: UInt64Array,
    pub(super) rows: UInt64Array,
    /// Whether values may be NaN, which minima and maxima leave out.
    pub(super) nan: bool,
}

impl ColumnPredicate {
    /// A condition that compares.
    pub fn new(column: usize, op: PredicateOp, values: ArrayRef) -> Self {
        Self { column, op, values }
    }

    /// The column is null.
    pub fn is_null(column: usize) -> Self {
        Self::new(column, PredicateOp::IsNull, arrow_array::new_empty_array(&DataType::Null))
    }

    /// The column is not null.
    pub fn is_not_null(column: usize) -> Self {
        Self::new(column, PredicateOp::IsNotNull, arrow_array::new_empty_array(&DataType::Null))
    }

    /// The same condition with its values in the column's type, checked.
    pub(crate) fn bind(&self, schema: &Schema) -> Result<Self> {
        let plan = |message: String| Error::Plan(format!("predicate on column {}: {message}", self.column));
        let field =
            schema.fields().get(self.column).ok_or_else(|| plan(format!("the input has {} columns", schema.fields().len())))?;
        if matches!(self.op, PredicateOp::IsNull | PredicateOp::IsNotNull) {
            return Ok(self.clone());
        }
        if self.op != PredicateOp::In && self.values.len() != 1 {
            return Err(plan(format!("expected one value to compare with, found {}", self.values.len())));
        }
        if field.data_type().is_nested() {
            return Err(plan(format!("`{}` is nested ({}) and cannot be compared", field.name(), field.data_type())));
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let values = match self.values.data_type() == field.data_type() {
            true => self.values.clone(),
            false => cast_with_options(&self.values, field.data_type(), &options)
                .and_then(|cast| {
                    // A value that changes on the way (1.5 as an integer) would silently change the question.
                    let back = cast_with_options(&cast, self.values.data_type(), &options)?;
                    (back.to_data() == self.values.to_data())
                        .then_some(cast)
                        .ok_or_else(|| arrow_schema::ArrowError::CastError("the value is not exact in that type".to_owned()))
                })
                .map_err(|e| {
                    plan(format!("`{}` is {}, the value {}: {e}", field.name(), field.data_type(), self.values.data_type()))
                })?,
        };
        Ok(Self { column: self.column, op: self.op, values: normal(&values) })
    }

    /// One of the values; there is one for every operation that compares.
    fn value(&self, at: usize) -> Scalar<ArrayRef> {
        Scalar::new(self.values.slice(at, 1))
    }

    /// Which values match; no nulls in the answer.
    pub(crate) fn evaluate(&self, column: &ArrayRef) -> Result<BooleanArray> {
        let column = normal(column);
        let mask = match self.op {
            PredicateOp::IsNull => return Ok(arrow::compute::is_null(&column)?),
            PredicateOp::IsNotNull => return Ok(arrow::compute::is_not_null(&column)?),
            PredicateOp::In => {
                let mut any = BooleanBuffer::new_unset(column.len());
                for value in 0..self.values.len() {
                    let one = matched(cmp::eq(&column, &self.value(value))?);
                    any = &any | one.values();
                }
                return Ok(BooleanArray::new(any, None));
            }
            op => compare(op, &column, &self.value(0))?,
        };
        Ok(matched(mask))
    }

    /// Which pieces may hold a match.
    pub(super) fn may_match(&self, known: &Statistics) -> Result<Vec<bool>> {
        let (minima, maxima) = (normal(&known.minima), normal(&known.maxima));
        let (nulls, rows) = (&known.nulls, &known.rows);
        // Unknown compares to null: read.
        let possible = |mask: BooleanArray| -> Vec<bool> { mask.iter().map(|m| m.unwrap_or(true)).collect() };
        let between = |low: &dyn Datum, high: &dyn Datum| -> Result<Vec<bool>> {
            let (low, high) = (possible(cmp::lt_eq(&minima, high)?), possible(cmp::gt_eq(&maxima, low)?));
            Ok(low.iter().zip(high).map(|(a, b)| *a && b).collect())
        };
        let mut may = match self.op {
            PredicateOp::IsNull => return Ok(nulls.iter().map(|n| n != Some(0)).collect()),
            PredicateOp::IsNotNull => vec![true; rows.len()],
            PredicateOp::Lt | PredicateOp::LtEq => possible(compare(self.op, &minima, &self.value(0))?),
            PredicateOp::Gt | PredicateOp::GtEq => possible(compare(self.op, &maxima, &self.value(0))?),
            PredicateOp::Eq => between(&self.value(0), &self.value(0))?,
            // Minima and maxima of strings may be truncated, so equal ones prove nothing.
            PredicateOp::NotEq if truncates(minima.data_type()) => vec![true; rows.len()],
            PredicateOp::NotEq => {
                let value = self.value(0);
                let (low, high) = (possible(cmp::neq(&minima, &value)?), possible(cmp::neq(&maxima, &value)?));
                low.iter().zip(high).map(|(a, b)| *a || b).collect()
            }
            PredicateOp::In if self.values.len() <= LISTED => {
                let mut any = vec![false; rows.len()];
                for at in 0..self.values.len() {
                    let one = self.value(at);
                    any.iter_mut().zip(between(&one, &one)?).for_each(|(a, b)| *a |= b);
                }
                any
            }
            PredicateOp::In => vec![true; rows.len()],
        };
        let nan_matches = known.nan && self.op != PredicateOp::Lt && self.op != PredicateOp::LtEq;
        for (piece, may) in may.iter_mut().enumerate() {
            *may |= nan_matches;
            let all_null = !rows.is_null(piece) && !nulls.is_null(piece) && nulls.value(piece) >= rows.value(piece);
            *may &= !all_null;
        }
        Ok(may)
    }

    /// Which pieces hold nothing but matches, so that their values need not be looked at.
    pub(super) fn all_match(&self, known: &Statistics) -> Result<Vec<bool>> {
        let (minima, maxima) = (normal(&known.minima), normal(&known.maxima));
        let mask = match self.op {
            PredicateOp::IsNotNull => None,
            PredicateOp::Lt | PredicateOp::LtEq if !known.nan => Some(compare(self.op, &maxima, &self.value(0))?),
            PredicateOp::Gt | PredicateOp::GtEq => Some(compare(self.op, &minima, &self.value(0))?),
            _ => return Ok(vec![false; known.rows.len()]),
        };
        Ok((0..known.rows.len())
            .map(|piece| {
                let compared = mask.as_ref().is_none_or(|m| !m.is_null(piece) && m.value(piece));
                compared && !known.nulls.is_null(piece) && known.nulls.value(piece) == 0
            })
            .collect())
    }
}

fn compare(op: PredicateOp, left: &dyn Datum, right: &dyn Datum) -> Result<BooleanArray> {
    Ok(match op {
        PredicateOp::Lt => cmp::lt(left, right)?,
        PredicateOp::LtEq => cmp::lt_eq(left, right)?,
        PredicateOp::GtEq => cmp::gt_eq(left, right)?,
        PredicateOp::Gt => cmp::gt(left, right)?,
        PredicateOp::NotEq => cmp::neq(left, right)?,
        PredicateOp::Eq | PredicateOp::In | PredicateOp::IsNull | PredicateOp::IsNotNull => cmp::eq(left, right)?,
    })
}

/// A mask without nulls: what is unknown does not match.
fn matched(mask: BooleanArray) -> BooleanArray {
    match mask.nulls() {
        Some(nulls) => BooleanArray::new(mask.values() & nulls.inner(), None),
        None => mask,
    }
}

/// Floats with -0.0 as 0.0 and every NaN as the one positive NaN, so that arrow's total order is the engine's order.
fn normal(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }))
        }
        DataType::Float64 => {
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }))
        }
        DataType::Float16 => {
            Arc::new(array.as_primitive::<Float16Type>().unary::<_, Float16Type>(|v| match v.to_bits() & 0x7fff {
                0 => half::f16::from_bits(0),
                magnitude if magnitude > 0x7c00 => half::f16::NAN,
                _ => v,
            }))
        }
        _ => array.clone(),
    }
}

/// Whether writers may shorten the statistics of such a column.
fn truncates(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}
