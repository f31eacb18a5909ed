//! Strings and byte strings: `00` becomes `00 FF`, the end is `00 00`.
//!
//! The end orders below every continuation, so a prefix comes before what it is a prefix of, also when another key follows.

use super::{KeySchema, NormalizedKey};
use crate::{Error, Result};

/// Bytes of the encoding of `value`.
#[inline]
pub(crate) fn escaped_len(value: &[u8]) -> usize {
    value.len() + zeros(value) + 2
}

/// Number of zero bytes; a form that compiles to vector code.
#[inline]
fn zeros(value: &[u8]) -> usize {
    value.chunks(255).map(|chunk| usize::from(chunk.iter().map(|&b| u8::from(b == 0)).sum::<u8>())).sum()
}

/// Writes the encoding of `value` to the front of `out`, every byte combined with `mask` by XOR; returns its length.
///
/// # Panics
/// If `out` is shorter than [`escaped_len`].
#[inline]
pub(crate) fn write_escaped(value: &[u8], out: &mut [u8], mask: u8) -> usize {
    let mut length = value.len();
    if mask == 0 && zeros(value) == 0 {
        out[..length].copy_from_slice(value);
    } else {
        length = 0;
        for &b in value {
            out[length] = b ^ mask;
            length += 1;
            if b == 0 {
                out[length] = 0xFF ^ mask;
                length += 1;
            }
        }
    }
    out[length..length + 2].fill(mask);
    length + 2
}

/// Appends the value whose encoding (combined with `mask`) starts `input` to `out`; returns the encoding's length.
pub(crate) fn unescape(input: &[u8], mask: u8, out: &mut Vec<u8>) -> std::result::Result<usize, String> {
    let mut at = 0;
    loop {
        let rest = &input[at..];
        let Some(plain) = rest.iter().position(|&b| b == mask) else {
            return Err(format!("expected the end of a string, found the end of the key after {} bytes", input.len()));
        };
        let start = out.len();
        out.extend_from_slice(&rest[..plain]);
        if mask != 0 {
            out[start..].iter_mut().for_each(|b| *b ^= mask);
        }
        at += plain + 2;
        match rest.get(plain + 1).map(|b| b ^ mask) {
            Some(0) => return Ok(at),
            Some(0xFF) => out.push(0),
            Some(other) => return Err(format!("expected 00 or FF after 00 in a string, found {other:02X} at byte {}", at - 1)),
            None => return Err(format!("expected the end of a string, found the end of the key after {} bytes", input.len())),
        }
    }
}

#[inline]
fn encode_bytes(value: &[u8], out: &mut Vec<u8>) {
    if zeros(value) == 0 {
        out.reserve(value.len() + 2);
        out.extend_from_slice(value);
        out.extend_from_slice(&[0, 0]);
    } else {
        let start = out.len();
        out.resize(start + escaped_len(value), 0);
        write_escaped(value, &mut out[start..], 0);
    }
}

fn decode_bytes(input: &mut &[u8], type_name: &str) -> Result<Vec<u8>> {
    let mut value = Vec::new();
    let length = unescape(input, 0, &mut value).map_err(|what| Error::Codec { type_name: type_name.to_owned(), what })?;
    *input = &input[length..];
    Ok(value)
}

impl NormalizedKey for str {
    const WIDTH: Option<usize> = None;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }

    fn schema() -> KeySchema {
        KeySchema::Str
    }
}

impl NormalizedKey for [u8] {
    const WIDTH: Option<usize> = None;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self, out);
    }

    fn schema() -> KeySchema {
        KeySchema::Bytes
    }
}

impl NormalizedKey for String {
    const WIDTH: Option<usize> = None;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        String::from_utf8(decode_bytes(input, "String")?).map_err(|error| Error::Codec {
            type_name: "String".to_owned(),
            what: format!("expected UTF-8, found other bytes after {} valid ones", error.utf8_error().valid_up_to()),
        })
    }

    fn schema() -> KeySchema {
        KeySchema::Str
    }
}

impl NormalizedKey for Vec<u8> {
    const WIDTH: Option<usize> = None;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self, out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        decode_bytes(input, "Vec<u8>")
    }

    fn schema() -> KeySchema {
        KeySchema::Bytes
    }
}
