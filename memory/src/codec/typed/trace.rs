//! The schema of a type, found by deserializing made-up values and watching what is asked for.
//!
//! The idea is that of the `serde-reflection` crate. Here containers are known by the full names of their Rust types, so
//! that two instances of a generic type, or two types of one name, are told apart. Each pass over the type takes a new
//! variant of every enum it meets, until none is left. A type inside itself is not entered again: there, options are
//! none, sequences empty, and enums take a variant that is known to end.

use super::Schema;
use crate::{Error, Result};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use std::any::type_name;
use std::collections::HashMap;
use std::fmt;

pub(super) const SELF_DESCRIBING: &str = "the type asks for self-describing data (an untagged, internally tagged or flattened part, or a value of any type), \
     which rows are not";

/// Passes over a type before it is given up: no enum has so many variants.
const PASSES: usize = 100_000;

/// How deep a recursive type is followed in search of an end.
const DEPTH: usize = 100;

/// The schema of `T`.
pub(super) fn trace<T: DeserializeOwned>() -> Result<Schema> {
    let mut tracer = Tracer::default();
    for _ in 0..PASSES {
        tracer.unfinished = false;
        let mut root = Schema::Unit;
        match T::deserialize(Tracing { tracer: &mut tracer, out: &mut root }) {
            Ok(_) if tracer.unfinished => {}
            Ok(_) => return Ok(tracer.resolve(root, &mut Vec::new())),
            Err(Refusal::SelfDescribing) => {
                return Err(Error::Unsupported(format!("no codec for `{}`: {SELF_DESCRIBING}", type_name::<T>())));
            }
            Err(Refusal::Other) => break,
        }
    }
    Ok(Schema::Opaque(type_name::<T>().to_owned()))
}

#[derive(Default)]
struct Tracer {
    /// Structs and enums by the full names of their types; their parts name others as [`Schema::Recursive`].
    containers: HashMap<&'static str, Container>,
    /// The containers that are being traced.
    open: Vec<&'static str>,
    /// How many types that are open already have been entered again.
    inside: usize,
    /// Whether an enum has variants that no pass has taken yet.
    unfinished: bool,
}

enum Container {
    Struct(&'static str, Vec<(String, Schema)>),
    Enum(&'static str, Vec<(&'static str, Option<Schema>)>),
}

impl Tracer {
    /// Puts the containers in the places of their names.
    fn resolve(&self, schema: Schema, open: &mut Vec<String>) -> Schema {
        let mut boxed = |schema: Box<Schema>| Box::new(self.resolve(*schema, open));
        match schema {
            Schema::Option(value) => Schema::Option(boxed(value)),
            Schema::Seq(element) => Schema::Seq(boxed(element)),
            Schema::Map(key, value) => Schema::Map(boxed(key), boxed(value)),
            Schema::Tuple(fields) => {
                let fields: Vec<Schema> = fields.into_iter().map(|field| self.resolve(field, open)).collect();
                match &fields[..] {
                    [first, rest @ ..] if rest.len() > 1 && rest.iter().all(|other| other == first) => {
                        Schema::Array(Box::new(first.clone()), fields.len())
                    }
                    _ => Schema::Tuple(fields),
                }
            }
            Schema::Struct { name, fields } => {
                let fields = fields.into_iter().map(|(name, field)| (name, self.resolve(field, open))).collect();
                Schema::Struct { name, fields }
            }
            Schema::Recursive(full) => {
                let Some(container) = self.containers.get(&*full) else { return Schema::Opaque(full) };
                let name = match container {
                    Container::Struct(name, _) | Container::Enum(name, _) => (*name).to_owned(),
                };
                if open.contains(&full) {
                    return Schema::Recursive(name);
                }
                open.push(full);
                let schema = match container {
                    Container::Struct(_, fields) => {
                        let fields = fields.iter().map(|(name, field)| (name.clone(), self.resolve(field.clone(), open)));
                        Schema::Struct { name, fields: fields.collect() }
                    }
                    Container::Enum(_, variants) => {
                        let variants = variants.iter().map(|(name, variant)| {
                            ((*name).to_owned(), self.resolve(variant.clone().unwrap_or(Schema::Unit), open))
                        });
                        Schema::Enum { name, variants: variants.collect() }
                    }
                };
                open.pop();
                schema
            }
            other => other,
        }
    }
}

/// Why a type refuses to be traced.
#[derive(Debug)]
enum Refusal {
    SelfDescribing,
    Other,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SelfDescribing => SELF_DESCRIBING,
            Self::Other => "the type refuses values made up for tracing",
        })
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Self::Other
    }
}

/// Makes up one value, and notes what it is.
struct Tracing<'a> {
    tracer: &'a mut Tracer,
    out: &'a mut Schema,
}

impl Tracing<'_> {
    /// Traces the fields of a struct, unless that is going on further up.
    fn container<'de, V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: impl Iterator<Item = String>,
        visit: impl FnOnce(Tracing<'_>) -> std::result::Result<V::Value, Refusal>,
    ) -> std::result::Result<V::Value, Refusal> {
        let full = type_name::<V::Value>();
        let Self { tracer, out } = self;
        *out = Schema::Recursive(full.to_owned());
        if tracer.open.contains(&full) {
            return tracer.again(visit);
        }
        tracer.open.push(full);
        let mut parts = Schema::Unit;
        let value = visit(Tracing { tracer, out: &mut parts });
        tracer.open.pop();
        let parts = match parts {
            Schema::Tuple(parts) => parts,
            Schema::Unit => Vec::new(),
            other => vec![other],
        };
        if value.is_ok() && tracer.inside == 0 {
            tracer.containers.insert(full, Container::Struct(name, fields.zip(parts).collect()));
        }
        value
    }
}

impl Tracer {
    /// Makes up a value of a type that is open already.
    fn again<T>(
        &mut self,
        visit: impl FnOnce(Tracing<'_>) -> std::result::Result<T, Refusal>,
    ) -> std::result::Result<T, Refusal> {
        if self.inside >= DEPTH {
            return Err(Refusal::Other);
        }
        self.inside += 1;
        let value = visit(Tracing { tracer: self, out: &mut Schema::Unit });
        self.inside -= 1;
        value
    }
}

macro_rules! scalars {
    ($($method:ident $visit:ident $schema:ident $value:expr),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refusal> {
            *self.out = Schema::$schema;
            visitor.$visit($value)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Tracing<'_> {
    type Error = Refusal;

    // One rather than zero: there are types that refuse zero.
    scalars!(
        deserialize_bool visit_bool Bool false,
        deserialize_i8 visit_i8 I8 1,
        deserialize_i16 visit_i16 I16 1,
        deserialize_i32 visit_i32 I32 1,
        deserialize_i64 visit_i64 I64 1,
        deserialize_i128 visit_i128 I128 1,
        deserialize_u8 visit_u8 U8 1,
        deserialize_u16 visit_u16 U16 1,
        deserialize_u32 visit_u32 U32 1,
        deserialize_u64 visit_u64 U64 1,
        deserialize_u128 visit_u128 U128 1,
        deserialize_f32 visit_f32 F32 1.0,
        deserialize_f64 visit_f64 F64 1.0,
        deserialize_char visit_char Char 'a',
        deserialize_str visit_borrowed_str Str "",
        deserialize_string visit_borrowed_str Str "",
        deserialize_bytes visit_borrowed_bytes Bytes b"",
        deserialize_byte_buf visit_borrowed_bytes Bytes b"",
    );

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Refusal> {
        Err(Refusal::SelfDescribing)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Refusal> {
        Err(Refusal::SelfDescribing)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Refusal> {
        Err(Refusal::SelfDescribing)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refusal> {
        if self.tracer.inside > 0 {
            return visitor.visit_none();
        }
        let mut value = Schema::Unit;
        let result = visitor.visit_some(Tracing { tracer: self.tracer, out: &mut value });
        *self.out = Schema::Option(Box::new(value));
        result
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> std::result::Result<V::Value, Refusal> {
        self.container::<V>(name, std::iter::empty(), |_| visitor.visit_unit())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> std::result::Result<V::Value, Refusal> {
        self.container::<V>(name, std::iter::once("0".to_owned()), |Tracing { tracer, out }| {
            let mut part = Schema::Unit;
            let value = visitor.visit_newtype_struct(Tracing { tracer, out: &mut part });
            *out = Schema::Tuple(vec![part]);
            value
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refusal> {
        let left = usize::from(self.tracer.inside == 0);
        let mut parts = Vec::new();
        let result = visitor.visit_seq(Elements { tracer: self.tracer, left, parts: &mut parts });
        *self.out = Schema::Seq(Box::new(parts.pop().unwrap_or(Schema::Unit)));
        result
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> std::result::Result<V::Value, Refusal> {
        let mut parts = Vec::new();
        let result = visitor.visit_seq(Elements { tracer: self.tracer, left: length, parts: &mut parts });
        *self.out = Schema::Tuple(parts);
        result
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> std::result::Result<V::Value, Refusal> {
        let fields = (0..length).map(|i| i.to_string());
        self.container::<V>(name, fields, |tracing| tracing.deserialize_tuple(length, visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refusal> {
        let left = usize::from(self.tracer.inside == 0);
        let mut parts = Vec::new();
        let result = visitor.visit_map(Elements { tracer: self.tracer, left, parts: &mut parts });
        let value = parts.pop().unwrap_or(Schema::Unit);
        let key = parts.pop().unwrap_or(Schema::Unit);
        *self.out = Schema::Map(Box::new(key), Box::new(value));
        result
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Refusal> {
        let names = fields.iter().map(|&field| field.to_owned());
        self.container::<V>(name, names, |tracing| tracing.deserialize_tuple(fields.len(), visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Refusal> {
        let Self { tracer, out } = self;
        let full = type_name::<V::Value>();
        *out = Schema::Recursive(full.to_owned());
        let entry = tracer
            .containers
            .entry(full)
            .or_insert_with(|| Container::Enum(name, variants.iter().map(|&variant| (variant, None)).collect()));
        let Container::Enum(_, known) = entry else { return Err(Refusal::Other) };
        let next = known.iter().position(|(_, schema)| schema.is_none());
        if tracer.open.contains(&full) || tracer.inside > 0 {
            let ends = known.iter().position(|(_, schema)| schema.is_some());
            let index = ends.unwrap_or(tracer.inside % variants.len().max(1));
            return tracer.again(|Tracing { tracer, out }| visitor.visit_enum(Variant { tracer, index, variants, out }));
        }
        let index = next.unwrap_or(0);
        tracer.open.push(full);
        let mut schema = Schema::Unit;
        let value = visitor.visit_enum(Variant { tracer, index, variants, out: &mut schema });
        tracer.open.pop();
        if value.is_ok()
            && let Some(Container::Enum(_, known)) = tracer.containers.get_mut(full)
            && let Some((_, known_schema)) = known.get_mut(index)
        {
            *known_schema = Some(schema);
            tracer.unfinished |= known.iter().any(|(_, schema)| schema.is_none());
        }
        value
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Elements<'a> {
    tracer: &'a mut Tracer,
    left: usize,
    parts: &'a mut Vec<Schema>,
}

impl<'de> de::SeqAccess<'de> for Elements<'_> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> std::result::Result<Option<S::Value>, Refusal> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.part(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_> {
    type Error = Refusal;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> std::result::Result<Option<S::Value>, Refusal> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> std::result::Result<S::Value, Refusal> {
        self.part(seed)
    }
}

impl Elements<'_> {
    fn part<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> std::result::Result<S::Value, Refusal> {
        let mut part = Schema::Unit;
        let value = seed.deserialize(Tracing { tracer: self.tracer, out: &mut part });
        self.parts.push(part);
        value
    }
}

struct Variant<'a> {
    tracer: &'a mut Tracer,
    index: usize,
    variants: &'static [&'static str],
    out: &'a mut Schema,
}

impl<'de> de::EnumAccess<'de> for Variant<'_> {
    type Error = Refusal;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> std::result::Result<(S::Value, Self), Refusal> {
        let value = seed.deserialize(IntoDeserializer::<Refusal>::into_deserializer(self.index as u32))?;
        Ok((value, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Refusal;

    fn unit_variant(self) -> std::result::Result<(), Refusal> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> std::result::Result<S::Value, Refusal> {
        seed.deserialize(Tracing { tracer: self.tracer, out: self.out })
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> std::result::Result<V::Value, Refusal> {
        de::Deserializer::deserialize_tuple(Tracing { tracer: self.tracer, out: self.out }, length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Refusal> {
        let mut parts = Schema::Unit;
        let tracing = Tracing { tracer: self.tracer, out: &mut parts };
        let value = de::Deserializer::deserialize_tuple(tracing, fields.len(), visitor);
        let Schema::Tuple(parts) = parts else { return value };
        let name = self.variants.get(self.index).copied().unwrap_or_default().to_owned();
        *self.out = Schema::Struct { name, fields: fields.iter().map(|&field| field.to_owned()).zip(parts).collect() };
        value
    }
}
