use super::column::{Column, Values};
use super::error::ValueError;
use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use std::ops::Range;

type Result<T> = std::result::Result<T, ValueError>;

/// One value of a column, for serde.
#[derive(Clone, Copy)]
pub(super) struct Cell<'c> {
    pub(super) column: &'c Column<'c>,
    pub(super) row: usize,
}

/// What is asked for, where a column's values have several forms.
#[derive(Clone, Copy, PartialEq)]
enum Want {
    Any,
    Integer,
    Float,
    Text,
}

impl<'c> Cell<'c> {
    /// Hands over a value that must not be null.
    #[inline]
    fn value<'de, V: Visitor<'de>>(self, want: Want, visitor: V) -> Result<V::Value> {
        let row = self.row;
        if self.column.is_null(row) {
            return if want == Want::Any { visitor.visit_none() } else { Err(ValueError::null(&visitor)) };
        }
        match &self.column.values {
            Values::Null => visitor.visit_none(),
            Values::Bool(v) => visitor.visit_bool(v.value(row)),
            Values::I8(v) => visitor.visit_i8(v[row]),
            Values::I16(v) => visitor.visit_i16(v[row]),
            Values::I32(v) => visitor.visit_i32(v[row]),
            Values::I64(v) => visitor.visit_i64(v[row]),
            Values::U8(v) => visitor.visit_u8(v[row]),
            Values::U16(v) => visitor.visit_u16(v[row]),
            Values::U32(v) => visitor.visit_u32(v[row]),
            Values::U64(v) => visitor.visit_u64(v[row]),
            Values::F16(v) => visitor.visit_f32(v[row].to_f32()),
            Values::F32(v) => visitor.visit_f32(v[row]),
            Values::F64(v) => visitor.visit_f64(v[row]),
            Values::Decimal { unscaled, scale, .. } if want == Want::Float => {
                visitor.visit_f64(scaled(unscaled.get(row), *scale))
            }
            Values::Decimal { unscaled, scale: 0, .. } if want == Want::Integer => {
                let value = unscaled.get(row);
                match i64::try_from(value) {
                    Ok(value) => visitor.visit_i64(value),
                    Err(_) => visitor.visit_i128(value),
                }
            }
            Values::Decimal { scale, .. } if want == Want::Integer => {
                let found = format!("a decimal with a scale of {scale}; a field of f64 or String holds it");
                Err(ValueError::invalid_type(Unexpected::Other(&found), &visitor))
            }
            Values::Temporal32(v, _) if want == Want::Integer => visitor.visit_i32(v[row]),
            Values::Temporal64(v, _) if want == Want::Integer => visitor.visit_i64(v[row]),
            Values::Utf8(v) => visitor.visit_str(v.value(row)),
            Values::LargeUtf8(v) => visitor.visit_str(v.value(row)),
            Values::Utf8View(v) => visitor.visit_str(v.value(row)),
            Values::Struct(fields) => visitor.visit_map(NamedCells::new(fields, row)),
            Values::List(ranges, item) => visitor.visit_seq(Items { column: item, rows: ranges.get(row) }),
            Values::Map(offsets, entries) => {
                let rows = offsets[row] as usize..offsets[row + 1] as usize;
                visitor.visit_map(Entries { entries, rows, current: 0 })
            }
            Values::Decimal { text, .. } | Values::Temporal32(_, text) | Values::Temporal64(_, text) | Values::Other(text) => {
                match text.get(row) {
                    // A decimal too wide for the other forms.
                    Some(text) if want == Want::Float => match text.parse() {
                        Ok(number) => visitor.visit_f64(number),
                        Err(_) => visitor.visit_string(text),
                    },
                    Some(text) => visitor.visit_string(text),
                    None => {
                        Err(ValueError::custom(format_args!("expected {}, found what has no text", &visitor as &dyn Expected)))
                    }
                }
            }
            Values::Binary(_) | Values::LargeBinary(_) | Values::BinaryView(_) | Values::FixedBinary(_) => {
                visitor.visit_bytes(self.bytes().unwrap_or_default())
            }
        }
    }

    /// The bytes of a binary value.
    fn bytes(self) -> Option<&'c [u8]> {
        Some(match &self.column.values {
            Values::Binary(v) => v.value(self.row),
            Values::LargeBinary(v) => v.value(self.row),
            Values::BinaryView(v) => v.value(self.row),
            Values::FixedBinary(v) => v.value(self.row),
            _ => return None,
        })
    }
}

/// Powers of ten that an `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22,
];

/// The nearest `f64`, as long as there are no more than 15 digits.
#[inline]
fn scaled(unscaled: i128, scale: i8) -> f64 {
    let number = match i64::try_from(unscaled) {
        Ok(short) => short as f64,
        Err(_) => unscaled as f64,
    };
    match usize::try_from(scale).ok().and_then(|s| POWERS.get(s)) {
        Some(power) => number / power,
        None => number / 10f64.powi(scale.into()),
    }
}

macro_rules! want {
    ($want:ident: $($deserialize:ident)*) => {$(
        #[inline]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.value(Want::$want, visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Cell<'_> {
    type Error = ValueError;

    want! { Any: deserialize_any }
    want! { Integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 }
    want! { Integer: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 }
    want! { Float: deserialize_f32 deserialize_f64 }
    want! { Text: deserialize_bool deserialize_char deserialize_str deserialize_string deserialize_identifier }
    want! { Text: deserialize_bytes deserialize_byte_buf deserialize_map }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.column.is_null(self.row) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.column.is_null(self.row) {
            return Err(ValueError::null(&visitor));
        }
        if let Some(bytes) = self.bytes() {
            // A `Vec<u8>` asks for a sequence.
            return visitor.visit_seq(serde::de::value::SeqDeserializer::new(bytes.iter().copied()));
        }
        match &self.column.values {
            Values::Struct(fields) => visitor.visit_seq(Cells::new(fields, self.row)),
            _ => self.value(Want::Text, visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _name: &'static str, _len: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.value(Want::Text, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let variant: String = serde::Deserialize::deserialize(self)?;
        let variant: StringDeserializer<ValueError> = variant.into_deserializer();
        visitor.visit_enum(variant)
    }
}

/// The values of a row, by position.
pub(super) struct Cells<'c> {
    columns: std::slice::Iter<'c, Column<'c>>,
    row: usize,
}

impl<'c> Cells<'c> {
    #[inline]
    pub(super) fn new(columns: &'c [Column<'c>], row: usize) -> Self {
        Self { columns: columns.iter(), row }
    }
}

impl<'de> SeqAccess<'de> for Cells<'_> {
    type Error = ValueError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(column) = self.columns.next() else { return Ok(None) };
        match seed.deserialize(Cell { column, row: self.row }) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(error.at(column.name, column.data_type)),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.columns.len())
    }
}

/// The values of a row, by name.
pub(super) struct NamedCells<'c> {
    columns: std::slice::Iter<'c, Column<'c>>,
    row: usize,
    current: Option<&'c Column<'c>>,
}

impl<'c> NamedCells<'c> {
    pub(super) fn new(columns: &'c [Column<'c>], row: usize) -> Self {
        Self { columns: columns.iter(), row, current: None }
    }
}

impl<'de> MapAccess<'de> for NamedCells<'_> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.current = self.columns.next();
        let Some(column) = self.current else { return Ok(None) };
        seed.deserialize(column.name.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        let Some(column) = self.current else { return Err(out_of_turn()) };
        seed.deserialize(Cell { column, row: self.row }).map_err(|e| e.at(column.name, column.data_type))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.columns.len())
    }
}

fn out_of_turn() -> ValueError {
    ValueError::custom("a value was asked for without its key")
}

/// The elements of a list.
struct Items<'c> {
    column: &'c Column<'c>,
    rows: Range<usize>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(row) = self.rows.next() else { return Ok(None) };
        let column = self.column;
        seed.deserialize(Cell { column, row }).map(Some).map_err(|e| e.at(column.name, column.data_type))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rows.len())
    }
}

/// The entries of a map.
struct Entries<'c> {
    entries: &'c [Column<'c>; 2],
    rows: Range<usize>,
    current: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(row) = self.rows.next() else { return Ok(None) };
        self.current = row;
        let column = &self.entries[0];
        seed.deserialize(Cell { column, row }).map(Some).map_err(|e| e.at(column.name, column.data_type))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        let column = &self.entries[1];
        seed.deserialize(Cell { column, row: self.current }).map_err(|e| e.at(column.name, column.data_type))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rows.len())
    }
}
