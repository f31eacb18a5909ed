//! Bytes and the schema they were written with, as serde's data model: structs are maps of their fields' names, enums are
//! named by their variants, whatever the type that reads them is today.

mod mismatch;
mod parts;

pub(super) use mismatch::Mismatch;

use super::Schema;
use super::decode::Reader;
use super::layout::{Layout, Node, Shape};
use parts::{Elements, Items, OneEntry, Variant};
use serde::de::value::SeqDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Visitor};

/// Levels of a value, the options and sequences among them: what a recursive type may be deep, and the stack is for.
const LEVELS: usize = 256;

/// Elements without bytes that a value may have: a length in damaged bytes must not be billions of them.
const EMPTY_ELEMENTS: usize = 1 << 16;

/// Reads the value at the front of `input`, which is moved behind it.
pub(super) fn read<'de, S: DeserializeSeed<'de>>(layout: &Layout, seed: S, input: &mut &'de [u8]) -> Result<S::Value, Mismatch> {
    let mut source = Source { reader: Reader { input }, empty: 0 };
    let value = seed.deserialize(Value { layout, node: 0, level: 0, is_key: false, source: &mut source })?;
    *input = source.reader.input;
    Ok(value)
}

/// What is left of the bytes.
struct Source<'de> {
    reader: Reader<'de>,
    /// Elements that took no bytes.
    empty: usize,
}

impl Source<'_> {
    /// An element has been read; there were so many bytes before it.
    #[inline]
    fn taken(&mut self, before: usize) -> Result<(), Mismatch> {
        if self.reader.input.len() == before {
            self.empty += 1;
            if self.empty > EMPTY_ELEMENTS {
                return Err(Mismatch::new(format!("expected at most {EMPTY_ELEMENTS} elements without bytes"), false));
            }
        }
        Ok(())
    }

    /// The number of a variant.
    #[inline]
    fn variant(&mut self) -> Result<u32, Mismatch> {
        Ok(match self.reader.chunk()? {
            [255] => u32::from_le_bytes(self.reader.chunk()?),
            [index] => index.into(),
        })
    }

    /// Whether an option has a value.
    #[inline]
    fn is_some(&mut self) -> Result<bool, Mismatch> {
        match self.reader.chunk()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Mismatch::new(format!("expected an option of 0 or 1, found {other}"), false)),
        }
    }

    /// Goes past a value.
    fn skip(&mut self, layout: &Layout, at: usize, level: usize) -> Result<(), Mismatch> {
        check_level(level)?;
        let each = |source: &mut Self, fields: &[(String, usize)]| {
            fields.iter().try_for_each(|(_, field)| source.skip(layout, *field, level + 1))
        };
        match layout.node(at) {
            Node::Scalar(Schema::Str | Schema::Bytes) => drop(self.reader.bytes()?),
            Node::Scalar(scalar) => drop(self.reader.take(scalar.width().unwrap_or(0))?),
            Node::Option(value) => {
                if self.is_some()? {
                    self.skip(layout, *value, level + 1)?;
                }
            }
            Node::Seq(element) => {
                let length = self.reader.length()?;
                self.skip_elements(layout, *element, length, level)?;
            }
            Node::Array(element, length) => self.skip_elements(layout, *element, *length, level)?,
            Node::Map(key, value) => {
                for _ in 0..self.reader.length()? {
                    let before = self.reader.input.len();
                    self.skip(layout, *key, level + 1)?;
                    self.skip(layout, *value, level + 1)?;
                    self.taken(before)?;
                }
            }
            Node::Tuple(fields) | Node::Struct { fields, .. } => each(self, fields)?,
            Node::Enum { name, variants } => {
                let index = self.variant()?;
                self.skip(layout, known(name, variants, index)?.1, level + 1)?;
            }
        }
        Ok(())
    }

    fn skip_elements(&mut self, layout: &Layout, element: usize, length: usize, level: usize) -> Result<(), Mismatch> {
        for _ in 0..length {
            let before = self.reader.input.len();
            self.skip(layout, element, level + 1)?;
            self.taken(before)?;
        }
        Ok(())
    }
}

#[inline]
fn check_level(level: usize) -> Result<(), Mismatch> {
    if level > LEVELS {
        return Err(Mismatch::new(format!("the value is more than {LEVELS} levels deep"), false));
    }
    Ok(())
}

/// The variant of a number.
#[inline]
fn known<'a>(name: &str, variants: &'a [(String, usize)], index: u32) -> Result<&'a (String, usize), Mismatch> {
    variants.get(index as usize).ok_or_else(|| {
        Mismatch::new(format!("expected a variant of `{name}` with a number below {}, found {index}", variants.len()), false)
    })
}

/// One value.
struct Value<'a, 'de> {
    layout: &'a Layout,
    node: usize,
    level: usize,
    /// Whether it is the key of a map, which some formats have only as text.
    is_key: bool,
    source: &'a mut Source<'de>,
}

impl<'a, 'de> Value<'a, 'de> {
    #[inline]
    fn node(&self) -> Result<&'a Node, Mismatch> {
        check_level(self.level)?;
        Ok(self.layout.node(self.node))
    }

    /// A part of this value.
    #[inline]
    fn part(self, node: usize) -> Self {
        Self { node, level: self.level + 1, is_key: false, ..self }
    }

    #[inline]
    fn elements(self, items: Items<'a>) -> Elements<'a, 'de> {
        Elements { layout: self.layout, level: self.level + 1, source: self.source, items, value: None }
    }

    #[inline]
    fn sequence<V: Visitor<'de>>(self, items: Items<'a>, visitor: V) -> Result<V::Value, Mismatch> {
        let mut elements = self.elements(items);
        let value = visitor.visit_seq(&mut elements)?;
        elements.skip_rest()?;
        Ok(value)
    }

    #[inline]
    fn map<V: Visitor<'de>>(self, items: Items<'a>, visitor: V) -> Result<V::Value, Mismatch> {
        let mut elements = self.elements(items);
        let value = visitor.visit_map(&mut elements)?;
        elements.skip_rest()?;
        Ok(value)
    }

    /// The variant of an enum.
    #[inline]
    fn variant(self, name: &str, variants: &'a [(String, usize)]) -> Result<Variant<'a, 'de>, Mismatch> {
        let index = self.source.variant()?;
        let (name, content) = known(name, variants, index)?;
        Ok(Variant { name, index, content: self.part(*content) })
    }

    #[inline]
    fn scalar<V: Visitor<'de>>(self, scalar: &Schema, visitor: V) -> Result<V::Value, Mismatch> {
        let reader = &mut self.source.reader;
        match scalar {
            Schema::Bool => match reader.chunk()? {
                [0] => visitor.visit_bool(false),
                [1] => visitor.visit_bool(true),
                [other] => Err(Mismatch::new(format!("expected a bool of 0 or 1, found {other}"), false)),
            },
            Schema::I8 => visitor.visit_i8(i8::from_le_bytes(reader.chunk()?)),
            Schema::I16 => visitor.visit_i16(i16::from_le_bytes(reader.chunk()?)),
            Schema::I32 => visitor.visit_i32(i32::from_le_bytes(reader.chunk()?)),
            Schema::I64 => visitor.visit_i64(i64::from_le_bytes(reader.chunk()?)),
            Schema::U8 => visitor.visit_u8(u8::from_le_bytes(reader.chunk()?)),
            Schema::U16 => visitor.visit_u16(u16::from_le_bytes(reader.chunk()?)),
            Schema::U32 => visitor.visit_u32(u32::from_le_bytes(reader.chunk()?)),
            Schema::U64 => visitor.visit_u64(u64::from_le_bytes(reader.chunk()?)),
            Schema::F32 => visitor.visit_f32(f32::from_le_bytes(reader.chunk()?)),
            Schema::F64 => visitor.visit_f64(f64::from_le_bytes(reader.chunk()?)),
            Schema::I128 => {
                let value = i128::from_le_bytes(reader.chunk()?);
                match (i64::try_from(value), u64::try_from(value)) {
                    (Ok(value), _) => visitor.visit_i64(value),
                    (_, Ok(value)) => visitor.visit_u64(value),
                    _ => visitor.visit_string(value.to_string()),
                }
            }
            Schema::U128 => {
                let value = u128::from_le_bytes(reader.chunk()?);
                match u64::try_from(value) {
                    Ok(value) => visitor.visit_u64(value),
                    Err(_) => visitor.visit_string(value.to_string()),
                }
            }
            Schema::Char => {
                let value = u32::from_le_bytes(reader.chunk()?);
                match char::from_u32(value) {
                    Some(value) => visitor.visit_char(value),
                    None => Err(Mismatch::new(format!("expected a Unicode scalar value, found {value:#X}"), false)),
                }
            }
            Schema::Str => visitor.visit_borrowed_str(reader.str()?),
            Schema::Bytes => visitor.visit_seq(SeqDeserializer::new(reader.bytes()?.iter().copied())),
            // The others have parts, and are nodes of their own.
            _ => visitor.visit_unit(),
        }
    }

    /// A key as text: strings as they are, all else as JSON.
    fn text(self) -> Result<String, Mismatch> {
        Ok(match serde_json::Value::deserialize(Value { is_key: false, ..self })? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        })
    }
}

impl<'de> de::Deserializer<'de> for Value<'_, 'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node()? {
            Node::Scalar(scalar) => self.scalar(scalar, visitor),
            Node::Option(value) => {
                if self.source.is_some()? {
                    visitor.visit_some(self.part(*value))
                } else {
                    visitor.visit_none()
                }
            }
            Node::Seq(element) => {
                let left = self.source.reader.length()?;
                self.sequence(Items::Same { element: *element, left }, visitor)
            }
            Node::Array(element, length) => self.sequence(Items::Same { element: *element, left: *length }, visitor),
            Node::Map(key, value) => {
                let left = self.source.reader.length()?;
                self.map(Items::Pairs { key: *key, value: *value, left }, visitor)
            }
            Node::Tuple(fields) => self.sequence(Items::Each(fields), visitor),
            Node::Struct { fields, shape, .. } => match (shape, fields.first()) {
                (Shape::Unit, _) => visitor.visit_unit(),
                (Shape::Newtype, Some((_, field))) => self.part(*field).deserialize_any(visitor),
                (Shape::Named, _) => self.map(Items::Each(fields), visitor),
                (Shape::Newtype | Shape::Tuple, _) => self.sequence(Items::Each(fields), visitor),
            },
            Node::Enum { name, variants } => {
                let variant = self.variant(name, variants)?;
                if let Node::Scalar(Schema::Unit) = variant.content.node()? {
                    return visitor.visit_str(variant.name);
                }
                visitor.visit_map(OneEntry { name: Some(variant.name), value: Some(variant.content) })
            }
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node()? {
            Node::Scalar(Schema::I128) => visitor.visit_i128(i128::from_le_bytes(self.source.reader.chunk()?)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node()? {
            Node::Scalar(Schema::U128) => visitor.visit_u128(u128::from_le_bytes(self.source.reader.chunk()?)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node()? {
            Node::Scalar(Schema::Str) => visitor.visit_borrowed_str(self.source.reader.str()?),
            _ if self.is_key => visitor.visit_string(self.text()?),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node()? {
            Node::Scalar(Schema::Bytes) => visitor.visit_borrowed_bytes(self.source.reader.bytes()?),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        self.source.skip(self.layout, self.node, self.level)?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node()? {
            Node::Struct { fields, .. } => match fields.as_slice() {
                [(_, field)] => visitor.visit_newtype_struct(self.part(*field)),
                _ => self.sequence(Items::Each(fields), visitor),
            },
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node()? {
            Node::Struct { fields, .. } => self.sequence(Items::Each(fields), visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.node()? {
            Node::Struct { fields, .. } => self.map(Items::Each(fields), visitor),
            // A variant that had no fields when it was stored.
            Node::Scalar(Schema::Unit) => self.map(Items::Each(&[]), visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.node()? {
            Node::Enum { name, variants } => {
                let variant = self.variant(name, variants)?;
                let name = variant.name;
                visitor.visit_enum(variant).map_err(|error| error.inside(name))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.source.skip(self.layout, self.node, self.level)?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char option unit seq tuple map identifier
    }
}
