//! Numbers, `bool` and `char`.

use super::{KeySchema, NormalizedKey, take, type_name};
use crate::{Error, Result};
use arrow_buffer::{IntervalDayTime, IntervalMonthDayNano, i256};
use half::f16;

/// A value with a fixed number of key bytes; what typed keys and key columns have in common.
pub(crate) trait FixedKey: Copy + Sized {
    /// `[u8; WIDTH]`.
    type Bytes: Copy + AsRef<[u8]> + AsMut<[u8]> + for<'a> TryFrom<&'a [u8]>;
    /// Number of key bytes.
    const WIDTH: usize = size_of::<Self::Bytes>();
    /// The value in an Arrow buffer, native byte order.
    ///
    /// # Panics
    /// If `bytes` has another length than the value.
    fn from_native(bytes: &[u8]) -> Self;
    /// The key.
    fn to_key(self) -> Self::Bytes;
    /// The value of a key. Total: every bit pattern is some value.
    fn from_key(bytes: Self::Bytes) -> Self;
}

#[inline(always)]
fn native<const N: usize>(bytes: &[u8]) -> [u8; N] {
    match bytes.first_chunk() {
        Some(bytes) => *bytes,
        None => panic!("a value of {N} bytes in {} bytes", bytes.len()),
    }
}

macro_rules! unsigned {
    ($($type:ty),*) => {$(
        impl FixedKey for $type {
            type Bytes = [u8; size_of::<$type>()];
            #[inline(always)]
            fn from_native(bytes: &[u8]) -> Self {
                Self::from_ne_bytes(native(bytes))
            }
            #[inline(always)]
            fn to_key(self) -> Self::Bytes {
                self.to_be_bytes()
            }
            #[inline(always)]
            fn from_key(bytes: Self::Bytes) -> Self {
                Self::from_be_bytes(bytes)
            }
        }
    )*};
}
unsigned!(u8, u16, u32, u64, u128);

macro_rules! signed {
    ($($type:ty),*) => {$(
        impl FixedKey for $type {
            type Bytes = [u8; size_of::<$type>()];
            #[inline(always)]
            fn from_native(bytes: &[u8]) -> Self {
                Self::from_ne_bytes(native(bytes))
            }
            #[inline(always)]
            fn to_key(self) -> Self::Bytes {
                (self ^ <$type>::MIN).to_be_bytes()
            }
            #[inline(always)]
            fn from_key(bytes: Self::Bytes) -> Self {
                Self::from_be_bytes(bytes) ^ <$type>::MIN
            }
        }
    )*};
}
signed!(i8, i16, i32, i64, i128);

impl FixedKey for i256 {
    type Bytes = [u8; 32];
    #[inline(always)]
    fn from_native(bytes: &[u8]) -> Self {
        if cfg!(target_endian = "little") { Self::from_le_bytes(native(bytes)) } else { Self::from_be_bytes(native(bytes)) }
    }
    #[inline(always)]
    fn to_key(self) -> [u8; 32] {
        (self ^ Self::MIN).to_be_bytes()
    }
    #[inline(always)]
    fn from_key(bytes: [u8; 32]) -> Self {
        Self::from_be_bytes(bytes) ^ Self::MIN
    }
}

macro_rules! float {
    ($($type:ty, $bits:ty, $signed:ty);*) => {$(
        impl FixedKey for $type {
            type Bytes = [u8; size_of::<$type>()];
            #[inline(always)]
            fn from_native(bytes: &[u8]) -> Self {
                Self::from_ne_bytes(native(bytes))
            }
            #[inline(always)]
            fn to_key(self) -> Self::Bytes {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let bits = self.to_bits();
                let bits = if self.is_nan() {
                    // The quiet NaN without sign or payload: infinity with the highest bit of the mantissa.
                    <$type>::INFINITY.to_bits() | <$type>::INFINITY.to_bits() >> 1
                } else if bits == SIGN {
                    0
                } else {
                    bits
                };
                let mask = ((bits as $signed) >> (<$bits>::BITS - 1)) as $bits | SIGN;
                (bits ^ mask).to_be_bytes()
            }
            #[inline(always)]
            fn from_key(bytes: Self::Bytes) -> Self {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let bits = <$bits>::from_be_bytes(bytes);
                Self::from_bits(if bits & SIGN == 0 { !bits } else { bits ^ SIGN })
            }
        }
    )*};
}
float!(f16, u16, i16; f32, u32, i32; f64, u64, i64);

impl FixedKey for bool {
    type Bytes = [u8; 1];
    #[inline(always)]
    fn from_native(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }
    #[inline(always)]
    fn to_key(self) -> [u8; 1] {
        [u8::from(self)]
    }
    #[inline(always)]
    fn from_key(bytes: [u8; 1]) -> Self {
        bytes[0] != 0
    }
}

/// Intervals order component by component, the largest unit first: without a calendar, 1 month and 30 days do not compare.
impl FixedKey for IntervalDayTime {
    type Bytes = [u8; 8];
    #[inline(always)]
    fn from_native(bytes: &[u8]) -> Self {
        Self::new(i32::from_native(&bytes[..4]), i32::from_native(&bytes[4..]))
    }
    #[inline(always)]
    fn to_key(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.days.to_key());
        bytes[4..].copy_from_slice(&self.milliseconds.to_key());
        bytes
    }
    #[inline(always)]
    fn from_key([a, b, c, d, e, f, g, h]: [u8; 8]) -> Self {
        Self::new(i32::from_key([a, b, c, d]), i32::from_key([e, f, g, h]))
    }
}

/// As for [`IntervalDayTime`].
impl FixedKey for IntervalMonthDayNano {
    type Bytes = [u8; 16];
    #[inline(always)]
    fn from_native(bytes: &[u8]) -> Self {
        Self::new(i32::from_native(&bytes[..4]), i32::from_native(&bytes[4..8]), i64::from_native(&bytes[8..]))
    }
    #[inline(always)]
    fn to_key(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.months.to_key());
        bytes[4..8].copy_from_slice(&self.days.to_key());
        bytes[8..].copy_from_slice(&self.nanoseconds.to_key());
        bytes
    }
    #[inline(always)]
    fn from_key([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [u8; 16]) -> Self {
        let nanoseconds = i64::from_key([i, j, k, l, m, n, o, p]);
        Self::new(i32::from_key([a, b, c, d]), i32::from_key([e, f, g, h]), nanoseconds)
    }
}

#[inline]
fn decode_fixed<K: FixedKey>(input: &mut &[u8]) -> Result<K> {
    match K::Bytes::try_from(take(input, K::WIDTH, type_name::<K>)?) {
        Ok(bytes) => Ok(K::from_key(bytes)),
        Err(_) => unreachable!("take gave as many bytes as asked for"),
    }
}

macro_rules! normalized {
    ($($type:ty, $schema:ident);*) => {$(
        impl NormalizedKey for $type {
            const WIDTH: Option<usize> = Some(<$type as FixedKey>::WIDTH);
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_key());
            }
            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self> {
                decode_fixed(input)
            }
            fn schema() -> KeySchema {
                KeySchema::$schema
            }
        }
    )*};
}
normalized! {
    u8, U8; u16, U16; u32, U32; u64, U64; u128, U128; i8, I8; i16, I16; i32, I32; i64, I64; i128, I128; f32, F32; f64, F64
}

/// As `u64`, on every platform.
impl NormalizedKey for usize {
    const WIDTH: Option<usize> = Some(8);
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        (*self as u64).encode(out);
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self> {
        let value = u64::decode(input)?;
        Self::try_from(value).map_err(|_| mismatch("usize", format!("expected a value of this platform's usize, found {value}")))
    }
    fn schema() -> KeySchema {
        KeySchema::U64
    }
}

/// As `i64`, on every platform.
impl NormalizedKey for isize {
    const WIDTH: Option<usize> = Some(8);
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        (*self as i64).encode(out);
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self> {
        let value = i64::decode(input)?;
        Self::try_from(value).map_err(|_| mismatch("isize", format!("expected a value of this platform's isize, found {value}")))
    }
    fn schema() -> KeySchema {
        KeySchema::I64
    }
}

impl NormalizedKey for bool {
    const WIDTH: Option<usize> = Some(1);
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(mismatch("bool", format!("expected 0 or 1, found {other}"))),
        }
    }
    fn schema() -> KeySchema {
        KeySchema::Bool
    }
}

impl NormalizedKey for char {
    const WIDTH: Option<usize> = Some(4);
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        let value = u32::decode(input)?;
        char::from_u32(value).ok_or_else(|| mismatch("char", format!("expected a Unicode scalar value, found {value:#X}")))
    }
    fn schema() -> KeySchema {
        KeySchema::Char
    }
}

impl NormalizedKey for () {
    const WIDTH: Option<usize> = Some(0);
    #[inline]
    fn encode(&self, _: &mut Vec<u8>) {}
    #[inline]
    fn decode(_: &mut &[u8]) -> Result<Self> {
        Ok(())
    }
    fn schema() -> KeySchema {
        KeySchema::Unit
    }
}

#[cold]
fn mismatch(type_name: &str, what: String) -> Error {
    Error::Codec { type_name: type_name.to_owned(), what }
}
