//! Keys made of keys: options, tuples, arrays, references.

use super::{KeySchema, NormalizedKey, private::sum_widths, take, type_name};
use crate::{Error, Result};
use std::borrow::Cow;
use std::sync::Arc;

/// Writes a null byte (`null` for a null, the other of 0 and 1 for a value), then the value or zeros to its width.
#[inline]
pub(super) fn encode_option<K: NormalizedKey>(value: Option<&K>, null: u8, out: &mut Vec<u8>) {
    match value {
        Some(value) => {
            out.push(1 - null);
            value.encode(out);
        }
        None => {
            out.push(null);
            out.resize(out.len() + K::WIDTH.unwrap_or(0), 0);
        }
    }
}

pub(super) fn decode_option<K: NormalizedKey>(input: &mut &[u8], null: u8) -> Result<Option<K>> {
    match take(input, 1, type_name::<Option<K>>)?[0] {
        b if b == null => {
            take(input, K::WIDTH.unwrap_or(0), type_name::<Option<K>>)?;
            Ok(None)
        }
        b if b == 1 - null => K::decode(input).map(Some),
        other => Err(Error::Codec {
            type_name: type_name::<Option<K>>().to_owned(),
            what: format!("expected a null byte of 0 or 1, found {other}"),
        }),
    }
}

impl<K: NormalizedKey> NormalizedKey for Option<K> {
    const WIDTH: Option<usize> = sum_widths(&[Some(1), K::WIDTH]);

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_option(self.as_ref(), 1, out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        decode_option(input, 1)
    }

    fn schema() -> KeySchema {
        KeySchema::Option(Box::new(K::schema()))
    }
}

impl<K: NormalizedKey + ?Sized> NormalizedKey for &K {
    const WIDTH: Option<usize> = K::WIDTH;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }

    fn decode(_: &mut &[u8]) -> Result<Self> {
        Err(Error::Unsupported(format!("a key of type `{}` cannot be decoded: decode it as the owned type", type_name::<Self>())))
    }

    fn schema() -> KeySchema {
        K::schema()
    }
}

impl<K: NormalizedKey> NormalizedKey for Box<K> {
    const WIDTH: Option<usize> = K::WIDTH;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        K::decode(input).map(Self::new)
    }

    fn schema() -> KeySchema {
        K::schema()
    }
}

impl NormalizedKey for Cow<'_, str> {
    const WIDTH: Option<usize> = None;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        String::decode(input).map(Cow::Owned)
    }

    fn schema() -> KeySchema {
        KeySchema::Str
    }
}

impl NormalizedKey for Arc<str> {
    const WIDTH: Option<usize> = None;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        String::decode(input).map(Self::from)
    }

    fn schema() -> KeySchema {
        KeySchema::Str
    }
}

impl<K: NormalizedKey, const N: usize> NormalizedKey for [K; N] {
    const WIDTH: Option<usize> = match K::WIDTH {
        Some(width) => Some(width * N),
        None => None,
    };

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(Self::WIDTH.unwrap_or(0));
        self.iter().for_each(|key| key.encode(out));
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        let keys = (0..N).map(|_| K::decode(input)).collect::<Result<Vec<K>>>()?;
        Ok(keys.try_into().unwrap_or_else(|_| unreachable!("as many keys as the array has elements")))
    }

    fn schema() -> KeySchema {
        KeySchema::Array(Box::new(K::schema()), N)
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<$($name: NormalizedKey),+> NormalizedKey for ($($name,)+) {
            const WIDTH: Option<usize> = sum_widths(&[$($name::WIDTH),+]);

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.reserve(Self::WIDTH.unwrap_or(0));
                $(self.$index.encode(out);)+
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self> {
                Ok(($($name::decode(input)?,)+))
            }

            fn schema() -> KeySchema {
                KeySchema::Tuple(vec![$($name::schema()),+])
            }
        }
    )*};
}
tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
