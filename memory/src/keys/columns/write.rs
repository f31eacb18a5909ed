//! Arrays to key bytes.

use super::source::{ByteValues, Rows, Source, Values, with_bytes};
use super::{KeyEncoder, Part};
use crate::keys::{FixedKey, escaped_len, write_escaped};
use arrow_buffer::{IntervalDayTime, IntervalMonthDayNano, NullBuffer, i256};
use arrow_schema::{DataType, IntervalUnit};
use half::f16;

/// How the values of a column become key bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
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
    /// So many bytes as they are.
    Fixed(usize),
    /// Escaped and terminated.
    Bytes,
}

impl Kind {
    /// The kind of a type; `None` where it cannot be a key.
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::Int8 => Self::I8,
            DataType::Int16 => Self::I16,
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) | DataType::Decimal32(..) => Self::I32,
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
            DataType::Interval(IntervalUnit::YearMonth) => Self::I32,
            DataType::Interval(IntervalUnit::DayTime) => Self::DayTime,
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::MonthDayNano,
            DataType::FixedSizeBinary(width) => Self::Fixed(*width as usize),
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => Self::Bytes,
            DataType::Dictionary(_, values) if !repeats(values) => return Self::of(values),
            DataType::RunEndEncoded(_, values) if !repeats(values.data_type()) => return Self::of(values.data_type()),
            _ => return None,
        })
    }

    /// Bytes of a value, without the null byte.
    pub fn width(self) -> Option<usize> {
        Some(match self {
            Self::Null => 0,
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 | Self::DayTime => 8,
            Self::I128 | Self::MonthDayNano => 16,
            Self::I256 => 32,
            Self::Fixed(width) => width,
            Self::Bytes => return None,
        })
    }
}

/// Whether a type is an encoding of repeated values.
fn repeats(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Dictionary(..) | DataType::RunEndEncoded(..))
}

/// `for_each_row!(rows, |i, row| body)`: the `i`-th of the rows is row number `row`. A macro, so that each form of the
/// rows gets a loop of its own.
macro_rules! for_each_row {
    ($rows:expr, |$i:pat_param, $row:ident| $body:expr) => {
        match &$rows {
            $crate::keys::columns::Rows::Range(range) => {
                for ($i, $row) in range.clone().enumerate() {
                    $body;
                }
            }
            $crate::keys::columns::Rows::Selection(selection) => {
                for ($i, &$row) in selection.iter().enumerate() {
                    let $row = $row as usize;
                    $body;
                }
            }
        }
    };
}
pub(crate) use for_each_row;

/// Runs `$body` with `$K` as the [`FixedKey`] type of `$kind`; `$other` for kinds without one.
macro_rules! with_fixed {
    ($kind:expr, $K:ident => $body:expr, $other:expr) => {
        with_fixed!(@ $kind, $K, $body, $other,
            I8 i8, I16 i16, I32 i32, I64 i64, I128 i128, I256 i256, U8 u8, U16 u16, U32 u32, U64 u64,
            F16 f16, F32 f32, F64 f64, DayTime IntervalDayTime, MonthDayNano IntervalMonthDayNano)
    };
    (@ $kind:expr, $K:ident, $body:expr, $other:expr, $($variant:ident $type:ty),*) => {
        match $kind {
            $($crate::keys::columns::write::Kind::$variant => {
                type $K = $type;
                $body
            })*
            _ => $other,
        }
    };
}
pub(super) use with_fixed;

impl KeyEncoder {
    /// Adds the length of each row's key to `lengths`.
    pub(crate) fn add_lengths(&self, sources: &[Source<'_>], rows: &Rows<'_>, lengths: &mut [u32]) {
        let mut fixed = 0;
        for (part, source) in self.columns.iter().zip(sources) {
            match part.width() {
                Some(width) => fixed += width as u32,
                None => {
                    fixed += u32::from(part.column.nullable);
                    let nulls = source.nulls_in(rows);
                    let values = source.rows(rows);
                    with_bytes!(&source.values, bytes => {
                        // Too long a length is caught where the lengths are summed.
                        let len = |row| escaped_len(bytes.bytes(row)).min(u32::MAX as usize) as u32;
                        match nulls {
                            None => for_each_row!(*values, |i, row| lengths[i] = lengths[i].saturating_add(len(row))),
                            Some(nulls) => {
                                let valid = valid(nulls, rows);
                                for_each_row!(*values, |i, row| if valid[i] { lengths[i] = lengths[i].saturating_add(len(row)) });
                            }
                        }
                    }, ());
                }
            }
        }
        lengths.iter_mut().for_each(|length| *length = length.saturating_add(fixed));
    }

    /// Writes each row's key to `out` from `starts[i]` on. `out` is zero there. `starts` has arbitrary contents after.
    pub(crate) fn write(&self, sources: &[Source<'_>], rows: &Rows<'_>, out: &mut [u8], starts: &mut [u32]) {
        let mut offset = 0;
        for (part, source) in self.columns.iter().zip(sources) {
            let valid = source.nulls_in(rows).map(|nulls| valid(nulls, rows));
            let values = source.rows(rows);
            let mut column = Column { part, rows: &values, valid: valid.as_deref(), out, starts, offset };
            if part.column.nullable {
                column.null_bytes();
            }
            match (&source.values, part.kind) {
                (Values::Null, _) => {}
                (Values::Bool(values), _) => column.bools(|row| values.value(row)),
                (Values::Fixed(values), Kind::Fixed(width)) => column.fixed_bytes(values, width),
                (Values::Fixed(values), kind) => with_fixed!(kind, K => column.fixed::<K>(values), ()),
                (values, _) => with_bytes!(values, bytes => column.bytes(bytes), ()),
            }
            match part.width() {
                Some(width) => offset += width,
                // A column without values, because all are null, has moved nothing.
                None if matches!(source.values, Values::Null) => offset += usize::from(part.column.nullable),
                None => offset = 0,
            }
        }
    }
}

/// Whether each row has a value.
pub(crate) fn valid(nulls: &NullBuffer, rows: &Rows<'_>) -> Vec<bool> {
    match rows {
        Rows::Range(range) => nulls.slice(range.start, range.len()).iter().collect(),
        Rows::Selection(rows) => rows.iter().map(|&row| nulls.is_valid(row as usize)).collect(),
    }
}

/// One column on its way into the keys.
struct Column<'a> {
    part: &'a Part,
    /// The rows of the values.
    rows: &'a Rows<'a>,
    /// Whether each row has a value; `None` where all have.
    valid: Option<&'a [bool]>,
    out: &'a mut [u8],
    starts: &'a mut [u32],
    /// Where the column (with its null byte) lies behind `starts`.
    offset: usize,
}

impl Column<'_> {
    fn null_bytes(&mut self) {
        let null = self.part.null_byte();
        match self.valid {
            None if null == 1 => {}
            None => self.starts.iter().for_each(|&start| self.out[start as usize + self.offset] = 1 - null),
            Some(valid) => {
                let rows = self.starts.iter().zip(valid);
                rows.for_each(|(&start, &valid)| self.out[start as usize + self.offset] = null ^ u8::from(valid));
            }
        }
        self.offset += 1;
    }

    fn fixed<K: FixedKey>(&mut self, values: &[u8]) {
        // The mask goes through a match so that the common, ascending loop has none.
        match self.part.mask() {
            0 => self.fixed_with::<K>(values, |_| {}),
            _ => self.fixed_with::<K>(values, |key| key.iter_mut().for_each(|b| *b = !*b)),
        }
    }

    #[inline(always)]
    fn fixed_with<K: FixedKey>(&mut self, values: &[u8], transform: impl Fn(&mut [u8])) {
        let mut put = |start: u32, row: usize| {
            let mut key = K::from_native(&values[row * K::WIDTH..][..K::WIDTH]).to_key();
            transform(key.as_mut());
            self.out[start as usize + self.offset..][..K::WIDTH].copy_from_slice(key.as_ref());
        };
        match self.valid {
            None => for_each_row!(*self.rows, |i, row| put(self.starts[i], row)),
            Some(valid) => for_each_row!(*self.rows, |i, row| if valid[i] {
                put(self.starts[i], row)
            }),
        }
    }

    fn fixed_bytes(&mut self, values: &[u8], width: usize) {
        let mask = self.part.mask();
        for_each_row!(*self.rows, |i, row| {
            if self.valid.is_none_or(|valid| valid[i]) {
                let key = &mut self.out[self.starts[i] as usize + self.offset..][..width];
                key.iter_mut().zip(&values[row * width..]).for_each(|(out, value)| *out = value ^ mask);
            }
        });
    }

    fn bools(&mut self, value: impl Fn(usize) -> bool) {
        let mask = self.part.mask();
        for_each_row!(*self.rows, |i, row| {
            if self.valid.is_none_or(|valid| valid[i]) {
                self.out[self.starts[i] as usize + self.offset] = u8::from(value(row)) ^ mask;
            }
        });
    }

    /// Writes the values and moves `starts` behind them.
    fn bytes(&mut self, values: impl ByteValues) {
        let mask = self.part.mask();
        for_each_row!(*self.rows, |i, row| {
            let at = self.starts[i] as usize + self.offset;
            let length = match self.valid {
                Some(valid) if !valid[i] => 0,
                _ => write_escaped(values.bytes(row), &mut self.out[at..], mask),
            };
            self.starts[i] = (at + length) as u32;
        });
    }
}
