//! Normalized keys: bytes whose `memcmp` order is the order of the key.
//!
//! Sort, merge, join, grouping and key groups see nothing of a key but these bytes, so that one comparison routine and
//! one hash serve every key type. The invariant: for keys `a` and `b` of one type, `a < b` exactly if
//! `encode(a) < encode(b)` as byte strings, and equal keys have equal bytes. Encodings are prefix-free, therefore the
//! concatenation of several keys orders like the tuple of them.
//!
//! | type | bytes |
//! |---|---|
//! | unsigned integers, `char` | big endian |
//! | signed integers | big endian, sign bit flipped |
//! | `bool` | one byte, 0 or 1 |
//! | floats | IEEE bits big endian; positive: sign bit flipped, negative: all bits flipped; -0.0 is 0.0, every NaN is one NaN, the last value |
//! | strings, bytes | the bytes, with `00` written as `00 FF`, closed by `00 00` |
//! | `Option<K>` | `00` and the key, or `01` (nulls last); where `K` has a fixed width, a null is padded with zeros to it |
//! | [`NullsFirst<K>`] | `01` and the key, or `00` |
//! | [`Descending<K>`] | the key's bytes, each inverted |
//! | tuples, arrays, structs | the fields' keys, one after another |
//! | enums | the variant's number (one byte, two where there are more than 256), then the fields |
//!
//! The trade-off: a key is written once more beside the record and strings cannot be compared in place, but comparing,
//! hashing, partitioning and prefix extraction are all plain byte work, without a call into the key's type.
//! The technique is as old as System R; Flink's normalized keys and DuckDB's sort keys are its modern forms.
//!
//! Keyed state is stored under these bytes and their [`KeySchema`]: they are part of the format of checkpoints.
//!
//! [`columns`] writes the same bytes for Arrow columns.

mod bytes;
pub mod columns;
mod compound;
mod json;
mod primitives;
mod schema;

use crate::{Error, Result};

pub(crate) use bytes::{escaped_len, unescape, write_escaped};
pub(crate) use primitives::FixedKey;
pub use schema::KeySchema;

/// Whether two keys have the same bytes. Keys are short: up to 16 bytes take two overlapping loads a side and no call.
///
/// ```
/// use fluvial_memory::same_key;
/// assert!(same_key(b"amsterdam", b"amsterdam"));
/// assert!(!same_key(b"amsterdam", b"rotterdam") && !same_key(b"am", b"amsterdam"));
/// ```
#[inline(always)]
pub fn same_key(a: &[u8], b: &[u8]) -> bool {
    let n = a.len();
    n == b.len()
        && match n {
            0 => true,
            1..4 => a[0] == b[0] && a[n / 2] == b[n / 2] && a[n - 1] == b[n - 1],
            4..8 => ends::<4>(a) == ends::<4>(b),
            8..=16 => ends::<8>(a) == ends::<8>(b),
            _ => a == b,
        }
}

/// The first bytes and the last ones.
#[inline(always)]
fn ends<const N: usize>(bytes: &[u8]) -> (Option<&[u8; N]>, Option<&[u8; N]>) {
    (bytes.first_chunk(), bytes.last_chunk())
}

/// A key whose encoding has `memcmp` order.
///
/// `#[derive(NormalizedKey)]` implements it for structs (field by field) and enums (by variant, then field by field):
///
/// ```
/// use fluvial_memory::{Descending, NormalizedKey};
///
/// #[derive(NormalizedKey)]
/// struct ByDateThenNewest {
///     date: i32,
///     sequence: Descending<u64>,
/// }
///
/// let encode = |date, sequence| {
///     let mut key = Vec::new();
///     ByDateThenNewest { date, sequence: Descending(sequence) }.encode(&mut key);
///     key
/// };
/// assert_eq!(ByDateThenNewest::WIDTH, Some(12));
/// assert!(encode(-1, 5) < encode(0, 9));
/// assert!(encode(0, 9) < encode(0, 8));
/// ```
///
/// Borrowed keys encode too, so that a key function can return a part of the record without allocating.
pub trait NormalizedKey {
    /// The number of bytes of every key of this type, if they all have the same.
    const WIDTH: Option<usize>;

    /// Appends the key's bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads a key from the front of `input` and moves `input` behind it.
    ///
    /// # Errors
    /// [`Error::Codec`] if the bytes are no encoding of this type; [`Error::Unsupported`] for borrowed types, which
    /// cannot own what they would read: decode as the owned type (`String` for `&str`).
    fn decode(input: &mut &[u8]) -> Result<Self>
    where
        Self: Sized;

    /// What the key's bytes are. It is stored beside keyed state, so that it can be read without the type.
    ///
    /// A type that implements this trait by hand and leaves this out has keys that only it can read; one that is another type's
    /// key in all but name gives the schema of that.
    fn schema() -> KeySchema {
        KeySchema::Opaque(std::any::type_name::<Self>().to_owned())
    }
}

/// Reverses the order of a key.
///
/// Nulls inside it are reversed too: `Descending<Option<K>>` has them first, `Option<Descending<K>>` last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Descending<K>(pub K);

impl<K: PartialOrd> PartialOrd for Descending<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        other.0.partial_cmp(&self.0)
    }
}

impl<K: Ord> Ord for Descending<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.cmp(&self.0)
    }
}

impl<K: NormalizedKey> NormalizedKey for Descending<K> {
    const WIDTH: Option<usize> = K::WIDTH;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.0.encode(out);
        out[start..].iter_mut().for_each(|b| *b = !*b);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        let inverted: Vec<u8> = match K::WIDTH {
            Some(width) => take(input, width, type_name::<Self>)?.iter().map(|b| !b).collect(),
            None => input.iter().map(|b| !b).collect(),
        };
        let mut rest = &inverted[..];
        let key = K::decode(&mut rest)?;
        if K::WIDTH.is_none() {
            *input = &input[inverted.len() - rest.len()..];
        }
        Ok(Self(key))
    }

    fn schema() -> KeySchema {
        KeySchema::Descending(Box::new(K::schema()))
    }
}

/// A key that may be null, with nulls before all others. A plain `Option` has them last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct NullsFirst<K>(pub Option<K>);

impl<K: NormalizedKey> NormalizedKey for NullsFirst<K> {
    const WIDTH: Option<usize> = Option::<K>::WIDTH;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        compound::encode_option(self.0.as_ref(), 0, out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        compound::decode_option(input, 0).map(Self)
    }

    fn schema() -> KeySchema {
        KeySchema::NullsFirst(Box::new(K::schema()))
    }
}

pub(crate) fn type_name<T>() -> &'static str {
    std::any::type_name::<T>()
}

/// Takes `n` bytes off the front of `input`.
#[inline]
pub(crate) fn take<'a>(input: &mut &'a [u8], n: usize, type_name: fn() -> &'static str) -> Result<&'a [u8]> {
    match input.split_at_checked(n) {
        Some((head, rest)) => {
            *input = rest;
            Ok(head)
        }
        None => Err(ends_early(type_name(), n, input.len())),
    }
}

#[cold]
pub(crate) fn ends_early(type_name: &str, expected: usize, found: usize) -> Error {
    Error::Codec { type_name: type_name.to_owned(), what: format!("expected {expected} key bytes, found {found}") }
}

/// What the derive macro needs; no part of the API.
#[doc(hidden)]
pub mod private {
    use crate::{Error, Result};

    /// The sum of the fields' widths, if all are fixed.
    pub const fn sum_widths(widths: &[Option<usize>]) -> Option<usize> {
        let (mut sum, mut i) = (0, 0);
        while i < widths.len() {
            match widths[i] {
                Some(width) => sum += width,
                None => return None,
            }
            i += 1;
        }
        Some(sum)
    }

    /// The width of an enum's key: the tag's, and the fields' where all variants have the same.
    pub const fn enum_width(tag: usize, variants: &[Option<usize>]) -> Option<usize> {
        let mut i = 0;
        while i < variants.len() {
            match (variants[i], variants[0]) {
                (Some(a), Some(b)) if a == b => i += 1,
                _ => return None,
            }
        }
        match variants {
            [Some(width), ..] => Some(tag + *width),
            _ => None,
        }
    }

    /// A variant number that the enum does not have.
    #[cold]
    pub fn unknown_variant<T>(tag: usize, variants: usize) -> Result<T> {
        let type_name = std::any::type_name::<T>().to_owned();
        Err(Error::Codec { type_name, what: format!("expected a variant number below {variants}, found {tag}") })
    }
}

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
