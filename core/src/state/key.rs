//! Keys of state: the bytes of a normalized key, and where they belong.

use fluvial_memory::{NormalizedKey, hash};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;

/// Bytes that are kept beside the value.
pub(crate) const INLINE: usize = 22;

/// The bytes of a normalized key. Short ones need no allocation.
#[derive(Clone)]
pub(crate) enum KeyBytes {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

impl KeyBytes {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for KeyBytes {
    #[inline]
    fn from(key: &[u8]) -> Self {
        if key.len() <= INLINE {
            let mut bytes = [0; INLINE];
            bytes[..key.len()].copy_from_slice(key);
            Self::Inline { len: key.len() as u8, bytes }
        } else {
            Self::Heap(key.into())
        }
    }
}

impl PartialEq for KeyBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for KeyBytes {}

impl PartialOrd for KeyBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

/// A key with its hash: what a state table is asked for.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    pub(crate) hash: u64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> KeyRef<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { hash: hash::hash_bytes(bytes), bytes }
    }

    /// The key as its type.
    ///
    /// # Panics
    /// If the bytes are not of a `K`: state keeps only keys that their own type has encoded.
    #[inline]
    pub(crate) fn decode<K: NormalizedKey>(&self) -> K {
        K::decode(&mut &self.bytes[..]).expect("a key decodes what it has encoded")
    }
}

/// The key that an operator works on; all handles of its state look here.
#[derive(Default)]
pub(crate) struct CurrentKey {
    bytes: RefCell<Vec<u8>>,
    hash: Cell<u64>,
}

impl CurrentKey {
    /// Goes to a key of which only the bytes are at hand.
    pub(crate) fn set(&self, key: &[u8]) {
        self.go(KeyRef::new(key));
    }

    /// Goes to a key.
    #[inline]
    pub(crate) fn go(&self, key: KeyRef<'_>) {
        let mut bytes = self.bytes.borrow_mut();
        bytes.clear();
        bytes.extend_from_slice(key.bytes);
        self.hash.set(key.hash);
    }

    /// Calls a function with the key.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(KeyRef<'_>) -> R) -> R {
        f(KeyRef { hash: self.hash.get(), bytes: &self.bytes.borrow() })
    }
}
