use super::number::{Number, Stored};
use arrow_schema::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, IntervalUnit};
use fluvial_memory::{Error, Result};
use std::fmt;

/// A function over the values of a group. Nulls are ignored by all but [`AggregateFunction::CountStar`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// The sum; null without values. Signed integers and booleans give `Int64`, unsigned ones `UInt64`, floats
    /// `Float64`, durations themselves; decimals widen by 10 digits, up to 38 (76 for `Decimal256`), as DataFusion's do.
    Sum,
    /// Number of values, `Int64`.
    Count,
    /// Number of rows, `Int64`.
    CountStar,
    /// The least value, of the column's type; strings and binaries by bytes, NaN last.
    Min,
    /// The greatest value.
    Max,
    /// The mean, `Float64` whatever the input, as DuckDB's; null without values.
    Avg,
    /// The first value that comes, in no particular order where several workers take part: for columns that depend on
    /// the key.
    First,
}

impl fmt::Display for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sum => "sum",
            Self::Count | Self::CountStar => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::First => "first",
        })
    }
}

/// One aggregate to compute: a function and the column it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnAggregate {
    /// The function.
    pub function: AggregateFunction,
    /// Index of the column among those of a batch; of no meaning for [`AggregateFunction::CountStar`].
    pub column: usize,
    /// The column's type. A dictionary counts as its values.
    pub data_type: DataType,
    /// The column's name, for messages.
    pub name: String,
    /// Whether the column may have nulls. If not, a flag in every state is saved.
    pub nullable: bool,
}

impl ColumnAggregate {
    /// An aggregate over a column that may have nulls.
    pub fn new(function: AggregateFunction, column: usize, data_type: DataType, name: impl Into<String>) -> Self {
        Self { function, column, data_type, name: name.into(), nullable: true }
    }

    /// The number of rows.
    pub fn count_star() -> Self {
        Self::new(AggregateFunction::CountStar, 0, DataType::Null, "*")
    }

    /// Promises that the column has no nulls.
    pub fn not_null(mut self) -> Self {
        self.nullable = false;
        self
    }

    /// The result's type.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the function is not defined for the column's type.
    pub fn output_type(&self) -> Result<DataType> {
        let input = values_type(&self.data_type);
        Ok(match self.function {
            AggregateFunction::Count | AggregateFunction::CountStar => DataType::Int64,
            AggregateFunction::Min | AggregateFunction::Max | AggregateFunction::First => input.clone(),
            AggregateFunction::Avg => DataType::Float64,
            AggregateFunction::Sum => match input {
                DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Boolean => DataType::Int64,
                DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::UInt64,
                DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
                DataType::Duration(unit) => DataType::Duration(*unit),
                DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
                    DataType::Decimal128((p + 10).min(DECIMAL128_MAX_PRECISION), *s)
                }
                DataType::Decimal256(p, s) => DataType::Decimal256((p + 10).min(DECIMAL256_MAX_PRECISION), *s),
                _ => return Err(self.undefined()),
            },
        })
    }

    fn undefined(&self) -> Error {
        Error::Unsupported(format!("{self} is not defined for columns of type {}", self.data_type))
    }

    /// How it is computed.
    pub(super) fn kind(&self) -> Result<Kind> {
        let input = values_type(&self.data_type);
        Ok(match self.function {
            AggregateFunction::Count => Kind::Count,
            AggregateFunction::CountStar => Kind::CountStar,
            AggregateFunction::Sum => {
                let native = Native::of(input).ok_or_else(|| self.undefined())?;
                self.output_type()?;
                Kind::Sum(native.total(input), native)
            }
            AggregateFunction::Avg => {
                let of_numbers = Self { function: AggregateFunction::Sum, ..self.clone() }.output_type();
                let native = Native::of(input).filter(|_| !matches!(input, DataType::Duration(_)) && of_numbers.is_ok());
                let native = native.ok_or_else(|| self.undefined())?;
                Kind::Avg(native.total(input), native)
            }
            AggregateFunction::Min | AggregateFunction::Max | AggregateFunction::First => {
                let pick = match self.function {
                    AggregateFunction::Min => Pick::Least,
                    AggregateFunction::Max => Pick::Greatest,
                    _ => Pick::First,
                };
                match Native::of(input) {
                    Some(native) => Kind::Pick(pick, native),
                    None if is_bytes(input) => Kind::PickBytes(pick),
                    None => return Err(self.undefined()),
                }
            }
        })
    }
}

impl fmt::Display for ColumnAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.function, self.name)
    }
}

/// The type of a column's values, without their dictionary.
pub(super) fn values_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

fn is_bytes(data_type: &DataType) -> bool {
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

/// How an aggregate is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Count,
    CountStar,
    Sum(TotalType, Native),
    /// The sum, then the count.
    Avg(TotalType, Native),
    Pick(Pick, Native),
    /// The bytes lie behind the part of fixed width.
    PickBytes(Pick),
}

/// Which value of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    Least,
    Greatest,
    First,
}

/// What the values of a column are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Native {
    /// Computed with as bytes of 0 and 1.
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    I256,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
    DayTime,
    MonthDayNano,
}

/// What a sum is collected in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TotalType {
    I64,
    U64,
    Wide,
    I128,
    I256,
    F64,
}

impl Native {
    /// Of the types that have an order and a width.
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8 => Self::I8,
            DataType::Int16 => Self::I16,
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) | DataType::Decimal32(..) => Self::I32,
            DataType::Interval(IntervalUnit::YearMonth) => Self::I32,
            DataType::Int64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(_)
            | DataType::Decimal64(..) => Self::I64,
            DataType::Decimal128(..) => Self::I128,
            DataType::Decimal256(..) => Self::I256,
            DataType::UInt8 => Self::U8,
            DataType::UInt16 => Self::U16,
            DataType::UInt32 => Self::U32,
            DataType::UInt64 => Self::U64,
            DataType::Float16 => Self::F16,
            DataType::Float32 => Self::F32,
            DataType::Float64 => Self::F64,
            DataType::Interval(IntervalUnit::DayTime) => Self::DayTime,
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::MonthDayNano,
            _ => return None,
        })
    }

    fn total(self, data_type: &DataType) -> TotalType {
        match (self, data_type) {
            (Self::I128, DataType::Decimal128(precision, _)) if *precision > 18 => TotalType::I128,
            (Self::I64 | Self::U64 | Self::I128, _) | (_, DataType::Decimal32(..)) => TotalType::Wide,
            (Self::Bool | Self::I8 | Self::I16 | Self::I32, _) => TotalType::I64,
            // There are no sums of these.
            (Self::DayTime | Self::MonthDayNano, _) => TotalType::I64,
            (Self::U8 | Self::U16 | Self::U32, _) => TotalType::U64,
            (Self::I256, _) => TotalType::I256,
            (Self::F16 | Self::F32 | Self::F64, _) => TotalType::F64,
        }
    }
}

/// Runs `$body` with `$N` as the native type.
macro_rules! by_native {
    ($native:expr, $N:ident => $body:expr) => {
        by_native!(@arms $native, $N, $body,
            Bool u8, I8 i8, I16 i16, I32 i32, I64 i64, I128 i128, I256 arrow_buffer::i256,
            U8 u8, U16 u16, U32 u32, U64 u64, F16 half::f16, F32 f32, F64 f64,
            DayTime arrow_buffer::IntervalDayTime, MonthDayNano arrow_buffer::IntervalMonthDayNano)
    };
    (@arms $native:expr, $N:ident, $body:expr, $($V:ident $T:ty),*) => {
        match $native {
            $($crate::aggregate::columns::function::Native::$V => {
                type $N = $T;
                $body
            })*
        }
    };
}
pub(super) use by_native;

/// Runs `$body` with `$T` as the type that a sum is collected in.
macro_rules! by_total {
    ($total:expr, $T:ident => $body:expr) => {
        by_total!(@arms $total, $T, $body, I64 i64, U64 u64, Wide $crate::aggregate::columns::number::Wide, I128 i128,
            I256 arrow_buffer::i256, F64 f64)
    };
    (@arms $total:expr, $T:ident, $body:expr, $($V:ident $N:ty),*) => {
        match $total {
            $($crate::aggregate::columns::function::TotalType::$V => {
                type $T = $N;
                $body
            })*
        }
    };
}
pub(super) use by_total;

impl Kind {
    /// Bytes in the part of a state that has a fixed width.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Count | Self::CountStar => 8,
            Self::Sum(total, _) => by_total!(total, T => T::WIDTH),
            Self::Avg(total, _) => by_total!(total, T => T::WIDTH) + 8,
            Self::Pick(_, native) => by_native!(native, N => N::WIDTH),
            Self::PickBytes(_) => 0,
        }
    }

    /// Writes the state of no values; all bytes are zero before.
    pub(super) fn init(self, state: &mut [u8]) {
        match self {
            Self::Pick(Pick::Least, native) => by_native!(native, N => N::GREATEST.store(state)),
            Self::Pick(Pick::Greatest, native) => by_native!(native, N => N::LEAST.store(state)),
            _ => {}
        }
    }

    /// Whether a flag must say that there was a value.
    pub(super) fn needs_flag(self, nullable: bool) -> bool {
        match self {
            Self::Count | Self::CountStar | Self::Avg(..) => false,
            Self::Sum(..) => nullable,
            Self::Pick(pick, _) => nullable || pick == Pick::First,
            Self::PickBytes(_) => true,
        }
    }
}
