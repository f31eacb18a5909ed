use super::error::ValueError;
use arrow_schema::DataType;
use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// Levels of nesting after which a type is taken to contain itself.
const DEEPEST: usize = 32;

/// What serde asks for when it makes a value of some type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// Whatever there is; also what could not be looked into.
    Unknown,
    /// One value, that a column of this type holds.
    Scalar(DataType),
    /// A value or nothing.
    Option(Box<Shape>),
    /// Any number of values.
    List(Box<Shape>),
    /// Pairs of a key and a value.
    Map(Box<Shape>, Box<Shape>),
    /// Values by position.
    Tuple(Vec<Shape>),
    /// Values by name. Where a field has aliases there are more names than fields.
    Struct {
        /// The names that serde knows.
        names: &'static [&'static str],
        /// The fields, as far as they were seen.
        fields: Vec<Shape>,
    },
}

/// The shape of a type, and why it is not known to the end where it is not.
///
/// A type does not say what it consists of; it says what it wants when it is deserialized. So one value is made, of zeros
/// and empty strings, and what is asked for on the way is written down. A type that does not accept these (a date that
/// parses a string) ends the search; what was seen before is still right.
pub(crate) fn trace<T: DeserializeOwned>() -> (Shape, Option<ValueError>) {
    let mut shape = Shape::Unknown;
    let result = T::deserialize(Tracer { shape: &mut shape, depth: 0 });
    (shape, result.err())
}

/// Notes what it is asked for.
struct Tracer<'a> {
    shape: &'a mut Shape,
    depth: usize,
}

impl Tracer<'_> {
    fn inner(&self) -> Result<usize, ValueError> {
        match self.depth {
            DEEPEST => Err(ValueError::custom("a type that contains itself has no columns")),
            depth => Ok(depth + 1),
        }
    }
}

macro_rules! scalars {
    ($($deserialize:ident $visit:ident $value:expr, $type:expr;)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            *self.shape = Shape::Scalar($type);
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = ValueError;

    scalars! {
        deserialize_bool visit_bool false, DataType::Boolean;
        deserialize_i8 visit_i8 0, DataType::Int8;
        deserialize_i16 visit_i16 0, DataType::Int16;
        deserialize_i32 visit_i32 0, DataType::Int32;
        deserialize_i64 visit_i64 0, DataType::Int64;
        deserialize_i128 visit_i128 0, DataType::Decimal128(38, 0);
        deserialize_u8 visit_u8 0, DataType::UInt8;
        deserialize_u16 visit_u16 0, DataType::UInt16;
        deserialize_u32 visit_u32 0, DataType::UInt32;
        deserialize_u64 visit_u64 0, DataType::UInt64;
        deserialize_u128 visit_u128 0, DataType::Decimal128(38, 0);
        deserialize_f32 visit_f32 0.0, DataType::Float32;
        deserialize_f64 visit_f64 0.0, DataType::Float64;
        deserialize_char visit_char 'a', DataType::Utf8;
        deserialize_str visit_borrowed_str "", DataType::Utf8;
        deserialize_string visit_borrowed_str "", DataType::Utf8;
        deserialize_identifier visit_borrowed_str "", DataType::Utf8;
        deserialize_bytes visit_borrowed_bytes b"", DataType::Binary;
        deserialize_byte_buf visit_borrowed_bytes b"", DataType::Binary;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        *self.shape = Shape::Scalar(DataType::Null);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let depth = self.inner()?;
        let mut shape = Shape::Unknown;
        let result = visitor.visit_some(Tracer { shape: &mut shape, depth });
        *self.shape = Shape::Option(Box::new(shape));
        result
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let depth = self.inner()?;
        let mut shapes = Vec::new();
        let result = visitor.visit_seq(Fields { shapes: &mut shapes, left: 1, depth });
        *self.shape = Shape::List(Box::new(shapes.pop().unwrap_or(Shape::Unknown)));
        result
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ValueError> {
        let depth = self.inner()?;
        let mut shapes = Vec::new();
        let result = visitor.visit_seq(Fields { shapes: &mut shapes, left: len, depth });
        // After an error the rest was not seen, but it is there.
        shapes.resize(len, Shape::Unknown);
        *self.shape = Shape::Tuple(shapes);
        result
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let depth = self.inner()?;
        let mut shapes = Vec::new();
        let result = visitor.visit_map(Fields { shapes: &mut shapes, left: 2, depth });
        shapes.resize(2, Shape::Unknown);
        if let (Some(value), Some(key)) = (shapes.pop(), shapes.pop()) {
            *self.shape = Shape::Map(Box::new(key), Box::new(value));
        }
        result
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let depth = self.inner()?;
        let mut fields = Vec::new();
        let result = visitor.visit_seq(Fields { shapes: &mut fields, left: names.len(), depth });
        if result.is_err() {
            fields.resize(names.len(), Shape::Unknown);
        }
        *self.shape = Shape::Struct { names, fields };
        result
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        *self.shape = Shape::Scalar(DataType::Utf8);
        visitor.visit_enum(FirstVariant)
    }
}

/// Traces one element after another.
struct Fields<'a> {
    shapes: &'a mut Vec<Shape>,
    left: usize,
    depth: usize,
}

impl Fields<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ValueError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut shape = Shape::Unknown;
        let result = seed.deserialize(Tracer { shape: &mut shape, depth: self.depth });
        self.shapes.push(shape);
        result.map(Some)
    }
}

impl<'de> SeqAccess<'de> for Fields<'_> {
    type Error = ValueError;
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ValueError> {
        self.next(seed)
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = ValueError;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ValueError> {
        self.next(seed)
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ValueError> {
        self.next(seed)?.ok_or_else(|| ValueError::custom("a value was asked for without its key"))
    }
}

/// The first variant of an enum, which has to be one without fields.
struct FirstVariant;

impl<'de> EnumAccess<'de> for FirstVariant {
    type Error = ValueError;
    type Variant = Self;
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ValueError> {
        let first: U32Deserializer<ValueError> = 0u32.into_deserializer();
        Ok((seed.deserialize(first)?, self))
    }
}

fn with_fields<T>() -> Result<T, ValueError> {
    Err(ValueError::custom("an enum whose variants have fields has no columns"))
}

impl<'de> VariantAccess<'de> for FirstVariant {
    type Error = ValueError;
    fn unit_variant(self) -> Result<(), ValueError> {
        Ok(())
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _seed: S) -> Result<S::Value, ValueError> {
        with_fields()
    }
    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, ValueError> {
        with_fields()
    }
    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], _visitor: V) -> Result<V::Value, ValueError> {
        with_fields()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[test]
    fn a_struct_is_seen_to_the_leaves() {
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Inner(u8, char);
        #[derive(Deserialize)]
        #[allow(dead_code)]
        enum Color {
            Red,
            Green,
        }
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Outer {
            id: u64,
            #[serde(rename = "colour")]
            color: Color,
            inner: Option<Inner>,
            list: Vec<f32>,
            map: BTreeMap<String, i128>,
            #[serde(skip)]
            cache: u64,
        }
        let scalar = |t| Shape::Scalar(t);
        let (shape, error) = trace::<Outer>();
        assert!(error.is_none());
        let fields = vec![
            scalar(DataType::UInt64),
            scalar(DataType::Utf8),
            Shape::Option(Box::new(Shape::Tuple(vec![scalar(DataType::UInt8), scalar(DataType::Utf8)]))),
            Shape::List(Box::new(scalar(DataType::Float32))),
            Shape::Map(Box::new(scalar(DataType::Utf8)), Box::new(scalar(DataType::Decimal128(38, 0)))),
        ];
        assert_eq!(shape, Shape::Struct { names: &["id", "colour", "inner", "list", "map"], fields });
    }

    #[test]
    fn what_cannot_be_seen_is_an_error_and_names_stay() {
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Chain {
            id: u64,
            next: Option<Box<Chain>>,
        }
        let (shape, error) = trace::<Chain>();
        assert!(matches!(shape, Shape::Struct { names: ["id", "next"], .. }));
        assert!(error.unwrap().to_string().contains("contains itself"));
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Host {
            address: std::net::IpAddr,
        }
        let (shape, error) = trace::<Host>();
        assert!(matches!(shape, Shape::Struct { names: ["address"], .. }));
        assert!(error.is_some());
    }

    #[test]
    fn aliases_give_more_names_than_fields() {
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Aliased {
            #[serde(alias = "key")]
            id: u64,
        }
        let (Shape::Struct { names, fields }, None) = trace::<Aliased>() else { panic!("a struct") };
        assert_eq!((names.len(), fields.len()), (2, 1));
    }
}
