//! Normalized keys as JSON and back, by their schema alone.
//!
//! | key | JSON |
//! |---|---|
//! | integers | a number; a string of digits beyond 64 bits, and wherever one is read |
//! | floats | a number, or `"NaN"`, `"inf"`, `"-inf"` |
//! | `bool`, strings | as in JSON; `char` as a string of one |
//! | bytes | an array of numbers; a string is read as its UTF-8 bytes |
//! | unit, a struct without fields, a null | `null` |
//! | a key that is not null, [`Descending`](super::Descending), a struct of one field without a name | what is in it |
//! | tuples, arrays, tuple structs | an array |
//! | structs | an object |
//! | enums | the variant's name as a string, or an object of that name and what is in the variant |

use super::schema::{is_numbered, tag_width};
use super::{KeySchema, NormalizedKey, unescape};
use crate::{Error, Result};
use serde_json::{Map, Number, Value};

/// A part of a key, or what is wrong with it.
type Parsed<T> = std::result::Result<T, String>;

/// Elements without bytes that a key may have: a schema may be damaged.
const EMPTY_ELEMENTS: usize = 1 << 16;

/// Bytes with which a null may be padded.
const PADDING: usize = 1 << 20;

impl KeySchema {
    /// The key that has these bytes.
    ///
    /// # Errors
    /// [`Error::Codec`] if the bytes are no key of the schema, or more than one; [`Error::Unsupported`] for types that do not
    /// say what their bytes are ([`KeySchema::Opaque`]).
    pub fn to_value(&self, key: &[u8]) -> Result<Value> {
        let mut rest = key;
        let value = self.decode_value(&mut rest)?;
        match rest.len() {
            0 => Ok(value),
            left => Err(self.wrong(format!("expected a key of {} bytes, found {}", key.len() - left, key.len()))),
        }
    }

    /// The key at the front of `input`, which is moved behind it.
    ///
    /// # Errors
    /// As for [`KeySchema::to_value`].
    pub fn decode_value(&self, input: &mut &[u8]) -> Result<Value> {
        let mut decoder = Decoder { input, empty: 0 };
        let value = decoder.value(self, 0).map_err(|what| self.wrong(what))?;
        *input = decoder.input;
        Ok(value)
    }

    /// The bytes of a key that is given as JSON: what [`KeySchema::to_value`] gives comes back as its bytes.
    ///
    /// # Errors
    /// If the JSON is no key of the schema; the message says what was expected and what came.
    pub fn encode_json(&self, key: &Value) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        encode(self, key, &mut bytes).map_err(|what| self.wrong(what))?;
        Ok(bytes)
    }

    /// The bytes of a key that is given as text, on a command line: as JSON, or a string, a `char`, bytes or a variant's name
    /// without quotes. For a key that is a string, text that is JSON of another kind (`42`, `true`) is the string. A float in an
    /// array or object is exact to the last bit only as a string (`["0.1"]`).
    ///
    /// ```
    /// use fluvial_memory::NormalizedKey;
    /// let mut key = Vec::new();
    /// "42".encode(&mut key);
    /// assert_eq!(String::schema().encode_text("42")?, key);
    /// assert_eq!(String::schema().encode_text("\"42\"")?, key);
    /// # Ok::<(), fluvial_memory::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`KeySchema::encode_json`].
    pub fn encode_text(&self, key: &str) -> Result<Vec<u8>> {
        match serde_json::from_str(key) {
            Ok(value) if takes(self, &value) => self.encode_json(&value),
            _ => self.encode_json(&Value::String(key.to_owned())),
        }
    }

    #[cold]
    fn wrong(&self, what: String) -> Error {
        match self.opaque() {
            Some(name) => Error::Unsupported(format!("keys of `{name}` have no schema: its `NormalizedKey` does not give one")),
            None => Error::Codec { type_name: format!("key {self}"), what },
        }
    }

    /// The first part that is not described.
    fn opaque(&self) -> Option<&str> {
        match self {
            Self::Opaque(name) => Some(name),
            Self::Option(key) | Self::NullsFirst(key) | Self::Descending(key) | Self::Array(key, _) => key.opaque(),
            Self::Tuple(keys) => keys.iter().find_map(Self::opaque),
            Self::Struct { fields, .. } | Self::Enum { variants: fields, .. } => fields.iter().find_map(|(_, f)| f.opaque()),
            _ => None,
        }
    }
}

/// What is left of a key's bytes.
struct Decoder<'a> {
    input: &'a [u8],
    /// Elements that took no bytes.
    empty: usize,
}

impl Decoder<'_> {
    /// Takes so many bytes, each combined with `mask`.
    fn chunk<const N: usize>(&mut self, mask: u8) -> Parsed<[u8; N]> {
        match self.input.split_first_chunk() {
            Some((head, rest)) => {
                self.input = rest;
                Ok(head.map(|b: u8| b ^ mask))
            }
            None => Err(format!("expected {N} key bytes, found {}", self.input.len())),
        }
    }

    fn number<K: NormalizedKey, const N: usize>(&mut self, mask: u8) -> Parsed<K> {
        let bytes: [u8; N] = self.chunk(mask)?;
        K::decode(&mut &bytes[..]).map_err(|error| match error {
            Error::Codec { what, .. } => what,
            other => other.to_string(),
        })
    }

    fn bytes(&mut self, mask: u8) -> Parsed<Vec<u8>> {
        let mut value = Vec::new();
        let length = unescape(self.input, mask, &mut value)?;
        self.input = &self.input[length..];
        Ok(value)
    }

    /// The value of a key whose bytes are combined with `mask`: inverted in what is descending.
    fn value(&mut self, schema: &KeySchema, mask: u8) -> Parsed<Value> {
        Ok(match schema {
            KeySchema::Unit => Value::Null,
            KeySchema::Bool => self.number::<bool, 1>(mask)?.into(),
            KeySchema::I8 => self.number::<i8, 1>(mask)?.into(),
            KeySchema::I16 => self.number::<i16, 2>(mask)?.into(),
            KeySchema::I32 => self.number::<i32, 4>(mask)?.into(),
            KeySchema::I64 => self.number::<i64, 8>(mask)?.into(),
            KeySchema::U8 => self.number::<u8, 1>(mask)?.into(),
            KeySchema::U16 => self.number::<u16, 2>(mask)?.into(),
            KeySchema::U32 => self.number::<u32, 4>(mask)?.into(),
            KeySchema::U64 => self.number::<u64, 8>(mask)?.into(),
            KeySchema::I128 => {
                let value: i128 = self.number::<_, 16>(mask)?;
                Number::from_i128(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
            }
            KeySchema::U128 => {
                let value: u128 = self.number::<_, 16>(mask)?;
                Number::from_u128(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
            }
            KeySchema::F32 => float(self.number::<f32, 4>(mask)?.into()),
            KeySchema::F64 => float(self.number::<f64, 8>(mask)?),
            KeySchema::Char => Value::String(self.number::<char, 4>(mask)?.into()),
            KeySchema::Str => match String::from_utf8(self.bytes(mask)?) {
                Ok(text) => Value::String(text),
                Err(error) => {
                    let valid = error.utf8_error().valid_up_to();
                    return Err(format!("expected UTF-8, found other bytes after {valid} valid ones"));
                }
            },
            KeySchema::Bytes => self.bytes(mask)?.into(),
            KeySchema::Option(key) => self.option(key, 1, mask)?,
            KeySchema::NullsFirst(key) => self.option(key, 0, mask)?,
            KeySchema::Descending(key) => self.value(key, !mask)?,
            KeySchema::Tuple(keys) => Value::Array(keys.iter().map(|key| self.value(key, mask)).collect::<Parsed<_>>()?),
            KeySchema::Array(key, length) => {
                let mut values = Vec::new();
                for _ in 0..*length {
                    let before = self.input.len();
                    values.push(self.value(key, mask)?);
                    self.empty += usize::from(self.input.len() == before);
                    if self.empty > EMPTY_ELEMENTS {
                        return Err(format!("expected at most {EMPTY_ELEMENTS} elements without bytes"));
                    }
                }
                Value::Array(values)
            }
            KeySchema::Struct { fields, .. } => match fields.as_slice() {
                [] => Value::Null,
                [(_, field)] if is_numbered(fields) => self.value(field, mask)?,
                _ if is_numbered(fields) => {
                    Value::Array(fields.iter().map(|(_, field)| self.value(field, mask)).collect::<Parsed<_>>()?)
                }
                _ => {
                    let fields = fields.iter().map(|(name, field)| Ok((name.clone(), self.value(field, mask)?)));
                    Value::Object(fields.collect::<Parsed<_>>()?)
                }
            },
            KeySchema::Enum { variants, .. } => {
                let index = match tag_width(variants.len()) {
                    1 => usize::from(self.number::<u8, 1>(mask)?),
                    _ => usize::from(self.number::<u16, 2>(mask)?),
                };
                match variants.get(index) {
                    None => return Err(format!("expected a variant number below {}, found {index}", variants.len())),
                    Some((name, KeySchema::Unit)) => Value::String(name.clone()),
                    Some((name, content)) => Value::Object(Map::from_iter([(name.clone(), self.value(content, mask)?)])),
                }
            }
            KeySchema::Opaque(name) => return Err(format!("keys of `{name}` have no schema")),
        })
    }

    fn option(&mut self, key: &KeySchema, null: u8, mask: u8) -> Parsed<Value> {
        match self.number::<u8, 1>(mask)? {
            tag if tag == null => {
                let width = key.width().unwrap_or(0);
                match self.input.split_at_checked(width) {
                    Some((_, rest)) => self.input = rest,
                    None => return Err(format!("expected {width} key bytes, found {}", self.input.len())),
                }
                Ok(Value::Null)
            }
            tag if tag == 1 - null => self.value(key, mask),
            other => Err(format!("expected a null byte of 0 or 1, found {other}")),
        }
    }
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
}

/// Whether JSON is of a kind that the key is made from; else it may be that its text is.
fn takes(schema: &KeySchema, value: &Value) -> bool {
    match schema {
        // Of floats the text is read: JSON numbers have lost their last bit by now.
        KeySchema::Str | KeySchema::Char | KeySchema::F32 | KeySchema::F64 => value.is_string(),
        KeySchema::Bytes => value.is_string() || value.is_array(),
        KeySchema::Option(key) | KeySchema::NullsFirst(key) => value.is_null() || takes(key, value),
        KeySchema::Descending(key) => takes(key, value),
        KeySchema::Struct { fields, .. } => match fields.as_slice() {
            [(_, field)] if is_numbered(fields) => takes(field, value),
            _ => true,
        },
        _ => true,
    }
}

/// A number in JSON, or as a string.
fn parsed<K: std::str::FromStr + NormalizedKey>(value: &Value, expected: &str, out: &mut Vec<u8>) -> Parsed<()> {
    let parsed = match value {
        Value::Number(number) => number.to_string().parse::<K>().ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match parsed {
        Some(key) => {
            key.encode(out);
            Ok(())
        }
        None => Err(format!("expected a key of type {expected}, found {value}")),
    }
}

fn encode(schema: &KeySchema, value: &Value, out: &mut Vec<u8>) -> Parsed<()> {
    let unexpected = |what: &str| Err(format!("expected {what}, found {value}"));
    match (schema, value) {
        (KeySchema::Unit, Value::Null) => {}
        (KeySchema::Bool, Value::Bool(key)) => key.encode(out),
        (KeySchema::I8, _) => parsed::<i8>(value, "i8", out)?,
        (KeySchema::I16, _) => parsed::<i16>(value, "i16", out)?,
        (KeySchema::I32, _) => parsed::<i32>(value, "i32", out)?,
        (KeySchema::I64, _) => parsed::<i64>(value, "i64", out)?,
        (KeySchema::I128, _) => parsed::<i128>(value, "i128", out)?,
        (KeySchema::U8, _) => parsed::<u8>(value, "u8", out)?,
        (KeySchema::U16, _) => parsed::<u16>(value, "u16", out)?,
        (KeySchema::U32, _) => parsed::<u32>(value, "u32", out)?,
        (KeySchema::U64, _) => parsed::<u64>(value, "u64", out)?,
        (KeySchema::U128, _) => parsed::<u128>(value, "u128", out)?,
        (KeySchema::F32, _) => parsed::<f32>(value, "f32", out)?,
        (KeySchema::F64, _) => parsed::<f64>(value, "f64", out)?,
        (KeySchema::Char, Value::String(text)) => {
            let mut letters = text.chars();
            match (letters.next(), letters.next()) {
                (Some(key), None) => key.encode(out),
                _ => return unexpected("one character"),
            }
        }
        (KeySchema::Str, Value::String(text)) => text.encode(out),
        (KeySchema::Bytes, Value::String(text)) => text.as_bytes().encode(out),
        (KeySchema::Bytes, Value::Array(bytes)) => {
            let byte = |byte: &Value| byte.as_u64().and_then(|byte| u8::try_from(byte).ok());
            match bytes.iter().map(byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) => bytes.encode(out),
                None => return unexpected("an array of bytes"),
            }
        }
        (KeySchema::Option(key), _) => option(key, value, 1, out)?,
        (KeySchema::NullsFirst(key), _) => option(key, value, 0, out)?,
        (KeySchema::Descending(key), _) => {
            let start = out.len();
            encode(key, value, out)?;
            out[start..].iter_mut().for_each(|b| *b = !*b);
        }
        (KeySchema::Tuple(keys), Value::Array(values)) if keys.len() == values.len() => {
            keys.iter().zip(values).try_for_each(|(key, value)| encode(key, value, out))?;
        }
        (KeySchema::Tuple(keys), _) => return unexpected(&format!("an array of {}", keys.len())),
        (KeySchema::Array(key, length), Value::Array(values)) if *length == values.len() => {
            values.iter().try_for_each(|value| encode(key, value, out))?;
        }
        (KeySchema::Array(_, length), _) => return unexpected(&format!("an array of {length}")),
        (KeySchema::Struct { name, fields }, _) => match (fields.as_slice(), value) {
            ([], Value::Null) => {}
            ([(_, field)], _) if is_numbered(fields) => encode(field, value, out)?,
            (_, Value::Array(values)) if is_numbered(fields) && fields.len() == values.len() => {
                fields.iter().zip(values).try_for_each(|((_, field), value)| encode(field, value, out))?;
            }
            (_, Value::Object(values)) if !is_numbered(fields) => {
                for (field, schema) in fields {
                    match values.get(field) {
                        Some(value) => encode(schema, value, out).map_err(|what| format!("field `{field}`: {what}"))?,
                        None => return unexpected(&format!("an object with the field `{field}`")),
                    }
                }
                if let Some(other) = values.keys().find(|key| !fields.iter().any(|(field, _)| field == *key)) {
                    return Err(format!("`{name}` has no field `{other}`"));
                }
            }
            _ => return unexpected(&format!("a key {schema}")),
        },
        (KeySchema::Enum { name, variants }, _) => {
            let (found, content) = match value {
                Value::String(variant) => (variant, &Value::Null),
                Value::Object(entries) if entries.len() == 1 => match entries.iter().next() {
                    Some(entry) => entry,
                    None => unreachable!("it has one entry"),
                },
                _ => return unexpected(&format!("a variant of `{name}`")),
            };
            let Some(index) = variants.iter().position(|(variant, _)| variant == found) else {
                return Err(format!("`{name}` has no variant `{found}`"));
            };
            match tag_width(variants.len()) {
                1 => (index as u8).encode(out),
                _ => (index as u16).encode(out),
            }
            encode(&variants[index].1, content, out)?;
        }
        _ => return unexpected(&format!("a key of type {schema}")),
    }
    Ok(())
}

fn option(key: &KeySchema, value: &Value, null: u8, out: &mut Vec<u8>) -> Parsed<()> {
    if !value.is_null() {
        out.push(1 - null);
        return encode(key, value, out);
    }
    let width = key.width().unwrap_or(0);
    if width > PADDING {
        return Err(format!("expected keys of at most {PADDING} bytes, found {width}"));
    }
    out.push(null);
    out.resize(out.len() + width, 0);
    Ok(())
}
