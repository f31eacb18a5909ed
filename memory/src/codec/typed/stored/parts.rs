//! The parts of values that have some: elements, entries, fields, and what a variant holds.

use super::super::layout::Layout;
use super::{Mismatch, Source, Value};
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

/// What is left of a value with parts.
pub(super) enum Items<'a> {
    Same { element: usize, left: usize },
    Pairs { key: usize, value: usize, left: usize },
    Each(&'a [(String, usize)]),
}

/// The parts of a value, to be read one after the other.
pub(super) struct Elements<'a, 'de> {
    pub(super) layout: &'a Layout,
    pub(super) level: usize,
    pub(super) source: &'a mut Source<'de>,
    pub(super) items: Items<'a>,
    /// The value that belongs to the key just read, and the field's name.
    pub(super) value: Option<(usize, Option<&'a str>)>,
}

impl<'de> Elements<'_, 'de> {
    #[inline]
    fn element(&mut self, node: usize, is_key: bool) -> Value<'_, 'de> {
        Value { layout: self.layout, node, level: self.level, is_key, source: self.source }
    }

    /// Goes past what the visitor left.
    pub(super) fn skip_rest(&mut self) -> Result<(), Mismatch> {
        let Self { layout, level, .. } = *self;
        if let Some((node, _)) = self.value.take() {
            self.source.skip(layout, node, level)?;
        }
        match self.items {
            Items::Same { element, left } => self.source.skip_elements(layout, element, left, level),
            Items::Pairs { key, value, left } => (0..left).try_for_each(|_| {
                let before = self.source.reader.input.len();
                self.source.skip(layout, key, level)?;
                self.source.skip(layout, value, level)?;
                self.source.taken(before)
            }),
            Items::Each(fields) => fields.iter().try_for_each(|(_, field)| self.source.skip(layout, *field, level)),
        }
    }

    /// Elements that are left, as far as there are bytes for them.
    pub(super) fn hint(&self) -> Option<usize> {
        Some(match self.items {
            Items::Same { left, .. } | Items::Pairs { left, .. } => left.min(self.source.reader.input.len()),
            Items::Each(fields) => fields.len(),
        })
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Mismatch;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Mismatch> {
        match &mut self.items {
            Items::Same { left: 0, .. } | Items::Each([]) | Items::Pairs { .. } => Ok(None),
            Items::Same { element, left } => {
                let element = *element;
                *left -= 1;
                let before = self.source.reader.input.len();
                let value = seed.deserialize(self.element(element, false))?;
                self.source.taken(before)?;
                Ok(Some(value))
            }
            Items::Each([(name, field), rest @ ..]) => {
                let (name, field) = (name.as_str(), *field);
                self.items = Items::Each(rest);
                seed.deserialize(self.element(field, false)).map(Some).map_err(|error| error.inside(name))
            }
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = Mismatch;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Mismatch> {
        match &mut self.items {
            Items::Pairs { left: 0, .. } | Items::Each([]) | Items::Same { .. } => Ok(None),
            Items::Pairs { key, value, left } => {
                let (key, value) = (*key, *value);
                *left -= 1;
                let before = self.source.reader.input.len();
                let read = seed.deserialize(self.element(key, true))?;
                self.source.taken(before)?;
                self.value = Some((value, None));
                Ok(Some(read))
            }
            Items::Each([(name, field), rest @ ..]) => {
                self.value = Some((*field, Some(name)));
                self.items = Items::Each(rest);
                seed.deserialize(StrDeserializer::<Mismatch>::new(name)).map(Some)
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mismatch> {
        let Some((node, name)) = self.value.take() else {
            return Err(Mismatch::new("a value was asked for before its key".to_owned(), false));
        };
        seed.deserialize(self.element(node, false)).map_err(|error| match name {
            Some(name) => error.inside(name),
            None => error,
        })
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// An enum's value where nobody asks for an enum.
pub(super) struct OneEntry<'a, 'de> {
    pub(super) name: Option<&'a str>,
    pub(super) value: Option<Value<'a, 'de>>,
}

impl<'de> de::MapAccess<'de> for OneEntry<'_, 'de> {
    type Error = Mismatch;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Mismatch> {
        self.name.take().map(|name| seed.deserialize(StrDeserializer::<Mismatch>::new(name))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mismatch> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(Mismatch::new("a variant has one value".to_owned(), false)),
        }
    }
}

/// A value of an enum.
pub(super) struct Variant<'a, 'de> {
    pub(super) name: &'a str,
    pub(super) index: u32,
    pub(super) content: Value<'a, 'de>,
}

impl<'a, 'de> de::EnumAccess<'de> for Variant<'a, 'de> {
    type Error = Mismatch;
    type Variant = Value<'a, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Value<'a, 'de>), Mismatch> {
        let name = VariantName { name: self.name, index: self.index };
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'de> de::VariantAccess<'de> for Value<'_, 'de> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        self.source.skip(self.layout, self.node, self.level)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Mismatch> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Mismatch> {
        de::Deserializer::deserialize_tuple(self, length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Mismatch> {
        de::Deserializer::deserialize_struct(self, "", fields, visitor)
    }
}

/// A variant, known by its name; by its number to types that ask for numbers.
struct VariantName<'a> {
    name: &'a str,
    index: u32,
}

macro_rules! by_number {
    ($($method:ident),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            visitor.visit_u32(self.index)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for VariantName<'_> {
    type Error = Mismatch;

    by_number!(
        deserialize_u8,
        deserialize_u16,
        deserialize_u32,
        deserialize_u64,
        deserialize_i8,
        deserialize_i16,
        deserialize_i32,
        deserialize_i64
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        IntoDeserializer::<Mismatch>::into_deserializer(self.name).deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple tuple_struct
        map struct enum identifier ignored_any
    }
}
