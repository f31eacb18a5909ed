use fluvial_memory::{KeyWidth, RowShape};

/// Bytes of a key that entries, trees and splitters compare as an integer.
pub(super) const PREFIX: usize = 16;

/// How to get at the keys of rows of one shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    shape: RowShape,
    /// Of a fixed width below [`PREFIX`], the bits of the prefix that are key; else all.
    mask: u128,
    /// Whether keys can differ though their prefixes are equal.
    pub(super) long: bool,
}

impl Keys {
    pub(super) fn new(shape: RowShape) -> Self {
        match shape.key {
            KeyWidth::Fixed(width) => Self { shape, mask: mask(width), long: width > PREFIX },
            KeyWidth::Variable => Self { shape, mask: u128::MAX, long: true },
        }
    }

    pub(super) fn shape(&self) -> RowShape {
        self.shape
    }

    /// The key's first 16 bytes as a big-endian integer, zero bytes after the end of a shorter one: orders as the keys do,
    /// where it differs.
    #[inline]
    pub(super) fn prefix(&self, row: &[u8]) -> u128 {
        match self.shape.key {
            KeyWidth::Fixed(width) => match row.first_chunk::<PREFIX>() {
                Some(bytes) => u128::from_be_bytes(*bytes) & self.mask,
                None => short(&row[..width.min(row.len())]),
            },
            KeyWidth::Variable => {
                let key = self.shape.key(row);
                match row.get(4..).and_then(|rest| rest.first_chunk::<PREFIX>()) {
                    Some(bytes) => u128::from_be_bytes(*bytes) & mask(key.len()),
                    None => short(key),
                }
            }
        }
    }

    /// The whole key.
    #[inline]
    pub(super) fn key<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        self.shape.key(row)
    }
}

/// The bits that the first `width` bytes take of a prefix.
#[inline]
fn mask(width: usize) -> u128 {
    if width == 0 { 0 } else { u128::MAX << (8 * PREFIX.saturating_sub(width)) }
}

#[cold]
fn short(key: &[u8]) -> u128 {
    let mut bytes = [0; PREFIX];
    let length = key.len().min(PREFIX);
    bytes[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prefixes_order_as_keys_do(
            a in prop::collection::vec(any::<u8>(), 0..24),
            b in prop::collection::vec(0u8..3, 0..24),
            c in prop::collection::vec(0u8..3, 0..24),
            payload in 0usize..20,
        ) {
            let keys = Keys::new(RowShape::VARIABLE);
            let prefix = |key: &[u8]| {
                let mut row = (key.len() as u32).to_le_bytes().to_vec();
                row.extend(key);
                row.extend(vec![0xAB; payload]);
                let fixed = Keys::new(RowShape::fixed(key.len(), payload));
                assert_eq!(fixed.prefix(&row[4..]), keys.prefix(&row));
                keys.prefix(&row)
            };
            for (x, y) in [(&a, &b), (&b, &c), (&a, &c)] {
                let (p, q) = (prefix(x), prefix(y));
                prop_assert!(p == q || p.cmp(&q) == x.cmp(y));
            }
        }
    }
}
