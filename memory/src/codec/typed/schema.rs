//! What a codec knows of its type.

use std::fmt;

/// The description of a type's values: of their bytes, and of the names that the type gives to them.
///
/// Stored in spill headers and state files (it is a serde type itself), compared before anything is read back, and
/// readable:
///
/// ```
/// use fluvial_memory::{Codec, Schema};
/// let codec = Codec::<Vec<(String, Option<[u8; 16]>)>>::new()?;
/// assert_eq!(codec.schema().to_string(), "[(str, option<[u8; 16]>)]");
/// let stored = codec.schema().to_json();
/// assert_eq!(&Schema::from_json(&stored)?, codec.schema());
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the scalar variants are named as their types")]
pub enum Schema {
    Unit,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    /// A value or none.
    Option(Box<Schema>),
    /// Any number of values.
    Seq(Box<Schema>),
    /// Any number of keys and values.
    Map(Box<Schema>, Box<Schema>),
    /// One value each.
    Tuple(Vec<Schema>),
    /// So many values of one kind.
    Array(Box<Schema>, usize),
    /// Named fields; those of a tuple struct are named by their numbers.
    Struct {
        /// The type's name, without its path.
        name: String,
        /// Names and types of the fields, in order.
        fields: Vec<(String, Schema)>,
    },
    /// One of several variants.
    Enum {
        /// The type's name, without its path.
        name: String,
        /// Names and types of the variants, in order.
        variants: Vec<(String, Schema)>,
    },
    /// A type further up, of this name, within which this one is: the type is recursive.
    Recursive(String),
    /// A type, of this full name, that cannot be described: it refuses values made up for tracing.
    Opaque(String),
}

impl Schema {
    /// The number of bytes of every value, if they all have the same.
    pub fn width(&self) -> Option<usize> {
        let sum = |fields: &[(String, Self)]| fields.iter().map(|(_, field)| field.width()).sum();
        match self {
            Self::Unit => Some(0),
            Self::Bool | Self::I8 | Self::U8 => Some(1),
            Self::I16 | Self::U16 => Some(2),
            Self::I32 | Self::U32 | Self::F32 | Self::Char => Some(4),
            Self::I64 | Self::U64 | Self::F64 => Some(8),
            Self::I128 | Self::U128 => Some(16),
            Self::Str | Self::Bytes | Self::Option(_) | Self::Seq(_) | Self::Map(..) => None,
            Self::Tuple(fields) => fields.iter().map(Self::width).sum(),
            Self::Array(element, length) => element.width()?.checked_mul(*length),
            Self::Struct { fields, .. } => sum(fields),
            Self::Enum { variants, .. } => {
                let mut widths = variants.iter().map(|(_, variant)| variant.width());
                let first = widths.next()??;
                // From the 255th on the variant's number has more than a byte.
                (variants.len() <= 255 && widths.all(|width| width == Some(first))).then_some(1 + first)
            }
            Self::Recursive(_) | Self::Opaque(_) => None,
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("names and numbers are valid JSON"))
    }

    /// What [`Schema::to_json`] wrote.
    ///
    /// # Errors
    /// If the text is something else.
    pub fn from_json(text: &str) -> crate::Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| crate::Error::Codec { type_name: "Schema".to_owned(), what: error.to_string() })
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<'a, T: 'a>(
            f: &mut fmt::Formatter<'_>,
            items: &'a [T],
            write: impl Fn(&'a T, &mut fmt::Formatter<'_>) -> fmt::Result,
        ) -> fmt::Result {
            for (i, item) in items.iter().enumerate() {
                f.write_str(if i == 0 { "" } else { ", " })?;
                write(item, f)?;
            }
            Ok(())
        }
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool => f.write_str("bool"),
            Self::I8 => f.write_str("i8"),
            Self::I16 => f.write_str("i16"),
            Self::I32 => f.write_str("i32"),
            Self::I64 => f.write_str("i64"),
            Self::I128 => f.write_str("i128"),
            Self::U8 => f.write_str("u8"),
            Self::U16 => f.write_str("u16"),
            Self::U32 => f.write_str("u32"),
            Self::U64 => f.write_str("u64"),
            Self::U128 => f.write_str("u128"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::Str => f.write_str("str"),
            Self::Bytes => f.write_str("bytes"),
            Self::Option(value) => write!(f, "option<{value}>"),
            Self::Seq(element) => write!(f, "[{element}]"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Tuple(fields) => {
                f.write_str("(")?;
                list(f, fields, |field, f| field.fmt(f))?;
                f.write_str(")")
            }
            Self::Array(element, length) => write!(f, "[{element}; {length}]"),
            Self::Struct { name, fields } => {
                write!(f, "{name} {{ ")?;
                list(f, fields, |(name, field), f| write!(f, "{name}: {field}"))?;
                f.write_str(" }")
            }
            Self::Enum { name, variants } => {
                write!(f, "enum {name} {{ ")?;
                list(f, variants, |(name, variant), f| match variant {
                    Self::Unit => f.write_str(name),
                    Self::Tuple(_) => write!(f, "{name}{variant}"),
                    Self::Struct { .. } => write!(f, "{variant}"),
                    other => write!(f, "{name}({other})"),
                })?;
                f.write_str(" }")
            }
            Self::Recursive(name) | Self::Opaque(name) => f.write_str(name),
        }
    }
}
