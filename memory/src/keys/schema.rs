//! What the bytes of normalized keys are.

use std::fmt;

/// The description of a key type's bytes, for programs that have the bytes and not the type: those that look into stored state.
///
/// [`NormalizedKey::schema`](super::NormalizedKey::schema) gives it. It is a serde type, stored as one line of JSON beside the
/// keys, and readable:
///
/// ```
/// use fluvial_memory::{Descending, KeySchema, NormalizedKey};
///
/// let schema = <(String, Descending<u32>)>::schema();
/// assert_eq!(schema.to_string(), "(str, descending<u32>)");
/// assert_eq!(KeySchema::from_json(&schema.to_json())?, schema);
///
/// let mut key = Vec::new();
/// ("Ada".to_owned(), Descending(7u32)).encode(&mut key);
/// assert_eq!(schema.to_value(&key)?.to_string(), r#"["Ada",7]"#);
/// assert_eq!(schema.encode_text(r#"["Ada",7]"#)?, key);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the scalar variants are named as their types")]
pub enum KeySchema {
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
    /// A key or null, which is last.
    Option(Box<KeySchema>),
    /// A key or null, which is first.
    NullsFirst(Box<KeySchema>),
    /// A key in reversed order.
    Descending(Box<KeySchema>),
    /// One key after another.
    Tuple(Vec<KeySchema>),
    /// So many keys of one kind.
    Array(Box<KeySchema>, usize),
    /// Named fields; those of a tuple struct are named by their numbers.
    Struct {
        /// The type's name, without its path.
        name: String,
        /// Names and types of the fields, in order.
        fields: Vec<(String, KeySchema)>,
    },
    /// One of several variants.
    Enum {
        /// The type's name, without its path.
        name: String,
        /// Names and types of the variants, in order.
        variants: Vec<(String, KeySchema)>,
    },
    /// A type, of this full name, that does not say what its bytes are.
    Opaque(String),
}

impl KeySchema {
    /// The number of bytes of every key, if they all have the same.
    pub fn width(&self) -> Option<usize> {
        let sum = |fields: &[(String, Self)]| fields.iter().try_fold(0usize, |sum, (_, field)| sum.checked_add(field.width()?));
        match self {
            Self::Unit => Some(0),
            Self::Bool | Self::I8 | Self::U8 => Some(1),
            Self::I16 | Self::U16 => Some(2),
            Self::I32 | Self::U32 | Self::F32 | Self::Char => Some(4),
            Self::I64 | Self::U64 | Self::F64 => Some(8),
            Self::I128 | Self::U128 => Some(16),
            Self::Str | Self::Bytes | Self::Opaque(_) => None,
            Self::Option(key) | Self::NullsFirst(key) => key.width()?.checked_add(1),
            Self::Descending(key) => key.width(),
            Self::Tuple(keys) => keys.iter().try_fold(0usize, |sum, key| sum.checked_add(key.width()?)),
            Self::Array(key, length) => key.width()?.checked_mul(*length),
            Self::Struct { fields, .. } => sum(fields),
            Self::Enum { variants, .. } => {
                let mut widths = variants.iter().map(|(_, variant)| variant.width());
                let first = widths.next()??;
                widths.all(|width| width == Some(first)).then(|| first.checked_add(tag_width(variants.len())))?
            }
        }
    }

    /// Whether a key has the same bytes in both, whatever types and fields are named. Enums may have more variants in `now`, at
    /// their ends.
    pub fn is_read_as(&self, now: &Self) -> bool {
        let all = |a: &[&Self], b: &[&Self]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_read_as(b));
        match (self, now) {
            (Self::Option(a), Self::Option(b))
            | (Self::NullsFirst(a), Self::NullsFirst(b))
            | (Self::Descending(a), Self::Descending(b)) => a.is_read_as(b),
            (Self::Array(a, length), Self::Array(b, other)) => length == other && a.is_read_as(b),
            (Self::Tuple(_) | Self::Struct { .. }, Self::Tuple(_) | Self::Struct { .. }) => all(&self.fields(), &now.fields()),
            (Self::Enum { variants: a, .. }, Self::Enum { variants: b, .. }) => {
                let known = b.get(..a.len()).unwrap_or_default();
                let same = |((name, a), (other, b)): (&(String, Self), &(String, Self))| name == other && a.is_read_as(b);
                let tag = tag_width(a.len()) == tag_width(b.len()) && self.width() == now.width();
                tag && known.len() == a.len() && a.iter().zip(known).all(same)
            }
            _ => self == now,
        }
    }

    fn fields(&self) -> Vec<&Self> {
        match self {
            Self::Tuple(keys) => keys.iter().collect(),
            Self::Struct { fields, .. } => fields.iter().map(|(_, field)| field).collect(),
            _ => Vec::new(),
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("names and numbers are valid JSON"))
    }

    /// What [`KeySchema::to_json`] wrote.
    ///
    /// # Errors
    /// If the text is something else.
    pub fn from_json(text: &str) -> crate::Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| crate::Error::Codec { type_name: "KeySchema".to_owned(), what: error.to_string() })
    }
}

/// Bytes of the number of a variant.
pub(super) fn tag_width(variants: usize) -> usize {
    if variants <= 256 { 1 } else { 2 }
}

/// Whether the fields are those of a tuple struct.
pub(super) fn is_numbered(fields: &[(String, KeySchema)]) -> bool {
    fields.iter().enumerate().all(|(i, (name, _))| *name == i.to_string())
}

impl fmt::Display for KeySchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, items: &[(String, Self)], named: bool| {
            items.iter().enumerate().try_for_each(|(i, (name, item))| {
                f.write_str(if i == 0 { "" } else { ", " })?;
                if named { write!(f, "{name}: {item}") } else { item.fmt(f) }
            })
        };
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
            Self::Option(key) => write!(f, "option<{key}>"),
            Self::NullsFirst(key) => write!(f, "nulls_first<{key}>"),
            Self::Descending(key) => write!(f, "descending<{key}>"),
            Self::Tuple(keys) => {
                f.write_str("(")?;
                keys.iter().enumerate().try_for_each(|(i, key)| write!(f, "{}{key}", if i == 0 { "" } else { ", " }))?;
                f.write_str(")")
            }
            Self::Array(key, length) => write!(f, "[{key}; {length}]"),
            Self::Struct { name, fields } if fields.is_empty() => f.write_str(name),
            Self::Struct { name, fields } if is_numbered(fields) => {
                write!(f, "{name}(")?;
                list(f, fields, false)?;
                f.write_str(")")
            }
            Self::Struct { name, fields } => {
                write!(f, "{name} {{ ")?;
                list(f, fields, true)?;
                f.write_str(" }")
            }
            Self::Enum { name, variants } => {
                write!(f, "enum {name} {{ ")?;
                variants.iter().enumerate().try_for_each(|(i, (name, variant))| {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    match variant {
                        Self::Unit => f.write_str(name),
                        Self::Struct { .. } => variant.fmt(f),
                        Self::Tuple(_) => write!(f, "{name}{variant}"),
                        other => write!(f, "{name}({other})"),
                    }
                })?;
                f.write_str(" }")
            }
            Self::Opaque(name) => f.write_str(name),
        }
    }
}
