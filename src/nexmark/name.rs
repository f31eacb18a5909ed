//! Short names inside the record: an event costs no allocation, and copying one is copying its bytes.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The longest name: with its length it fills 12 bytes, and an event 48.
const CAPACITY: usize = 11;

/// A name of at most 11 bytes of UTF-8, stored in place. To serde it is a string.
///
/// ```
/// use fluvial::nexmark::Name;
/// let name: Name = "person-17".parse()?;
/// assert_eq!(name.as_str(), "person-17");
/// assert!("a name that is too long".parse::<Name>().is_err());
/// # Ok::<(), fluvial::nexmark::TooLong>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Zeros behind the name, so that the derived order is that of the strings.
    bytes: [u8; CAPACITY],
    length: u8,
}

/// A string that does not fit into a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its length in bytes.
    pub length: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name has at most {CAPACITY} bytes, this one {}", self.length)
    }
}

impl std::error::Error for TooLong {}

impl Name {
    /// The prefix and the last four decimal digits of a number, without leading zeros.
    #[inline]
    pub(super) fn numbered<const PREFIX: usize>(prefix: &[u8; PREFIX], number: u32) -> Self {
        const { assert!(PREFIX + 4 <= CAPACITY) };
        let number = number % 10_000;
        let digit = |unit: u32| b'0' + (number / unit % 10) as u8;
        let leading = u32::from(number < 1000) + u32::from(number < 100) + u32::from(number < 10);
        let digits = u32::from_le_bytes([digit(1000), digit(100), digit(10), digit(1)]) >> (8 * leading);
        let mut bytes = [0; CAPACITY];
        bytes[..PREFIX].copy_from_slice(prefix);
        bytes[PREFIX..PREFIX + 4].copy_from_slice(&digits.to_le_bytes());
        Self { bytes, length: (PREFIX as u32 + 4 - leading) as u8 }
    }

    /// The name.
    #[inline]
    pub fn as_str(&self) -> &str {
        // A name is made of whole strings only.
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl std::str::FromStr for Name {
    type Err = TooLong;

    fn from_str(name: &str) -> Result<Self, TooLong> {
        let mut bytes = [0; CAPACITY];
        let Some(to) = bytes.get_mut(..name.len()) else { return Err(TooLong { length: name.len() }) };
        to.copy_from_slice(name.as_bytes());
        Ok(Self { bytes, length: name.len() as u8 })
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Name {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a name of at most {CAPACITY} bytes")
            }

            #[inline]
            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                name.parse().map_err(|_| E::invalid_length(name.len(), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_no_leading_zeros() {
        for number in 0..10_000 {
            assert_eq!(Name::numbered(b"person-", number).as_str(), format!("person-{number}"));
            assert_eq!(Name::numbered(b"item-", number), format!("item-{number}").parse().unwrap());
        }
    }

    proptest! {
        #[test]
        fn a_name_is_its_string(a in ".{0,4}", b in ".{0,4}") {
            match (a.parse::<Name>(), b.parse::<Name>()) {
                (Ok(x), Ok(y)) => {
                    prop_assert_eq!(x.as_str(), &a);
                    prop_assert_eq!(x.cmp(&y), a.cmp(&b));
                    let text = serde_json::to_string(&x).unwrap();
                    prop_assert_eq!(serde_json::from_str::<Name>(&text).unwrap(), x);
                }
                (x, y) => prop_assert!((x.is_err() && a.len() > CAPACITY) || (y.is_err() && b.len() > CAPACITY)),
            }
        }
    }

    #[test]
    fn a_longer_string_is_refused() {
        let error = serde_json::from_str::<Name>("\"twelve bytes\"").unwrap_err().to_string();
        assert!(error.contains("invalid length 12, expected a name of at most 11 bytes"), "{error}");
    }
}
