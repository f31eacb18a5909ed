//! Where key and state lie in a row, on the way and in a table; and how keys are compared.

use fluvial_memory::{KeyWidth, RowShape, same_key};

/// Marks, in place of a state's length, a row whose state has outgrown it and moved.
const DEAD: u32 = u32::MAX;

/// The widths of keys and states.
///
/// On the way (in batches and on disk) a row is `[key][state]`. In a table it is the same where states have one width;
/// where they vary it is `[key][length of the state: u32][state][slack]`, so that a state that grows can often stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) key: KeyWidth,
    pub(super) state: Option<usize>,
}

impl Layout {
    /// Rows on the way.
    pub(super) fn shape(self) -> RowShape {
        match (self.key, self.state) {
            (KeyWidth::Fixed(key), Some(state)) => RowShape::fixed(key, state),
            (key, _) => RowShape { key, row: None },
        }
    }

    /// The width of all rows, where they have one that is not zero.
    pub(super) fn row_width(self) -> Option<usize> {
        self.shape().row.filter(|width| *width > 0)
    }

    /// Bytes of the key at the front of a row, with its length where that varies.
    #[inline]
    pub(super) fn key_end(self, row: &[u8]) -> usize {
        match self.key {
            KeyWidth::Fixed(n) => n,
            KeyWidth::Variable => 4 + u32::from_le_bytes([row[0], row[1], row[2], row[3]]) as usize,
        }
    }

    /// Bytes before the state in the row of this key.
    #[inline(always)]
    pub(super) fn front(self, key: &[u8]) -> usize {
        match self.key {
            KeyWidth::Fixed(n) => n,
            KeyWidth::Variable => 4 + key.len(),
        }
    }

    /// The key of a row.
    #[inline]
    pub(super) fn key(self, row: &[u8]) -> &[u8] {
        match self.key {
            KeyWidth::Fixed(n) => &row[..n],
            KeyWidth::Variable => &row[4..self.key_end(row)],
        }
    }

    /// A table's row as it goes on the way: key and state. `None` if the row is dead.
    #[inline]
    pub(super) fn parts(self, stored: &[u8]) -> Option<(&[u8], &[u8])> {
        let end = self.key_end(stored);
        if self.state.is_some() {
            return Some((stored, &[]));
        }
        let state = state_of(&stored[end..])?;
        Some((&stored[..end], state))
    }

    /// Appends the front of a row, up to the state, for this key.
    #[inline]
    pub(super) fn put_key(self, key: &[u8], row: &mut Vec<u8>) {
        match self.key {
            KeyWidth::Fixed(n) => debug_assert_eq!(n, key.len()),
            KeyWidth::Variable => row.extend_from_slice(&(key.len() as u32).to_le_bytes()),
        }
        row.extend_from_slice(key);
    }
}

/// The state in what follows a table row's key, where states vary; `None` if the row is dead.
#[inline]
pub(super) fn state_of(tail: &[u8]) -> Option<&[u8]> {
    match u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]) {
        DEAD => None,
        length => Some(&tail[4..4 + length as usize]),
    }
}

/// As [`state_of`], to be changed.
#[inline]
pub(super) fn state_of_mut(tail: &mut [u8]) -> Option<&mut [u8]> {
    let length = state_of(tail)?.len();
    Some(&mut tail[4..4 + length])
}

/// Writes a state over what follows a table row's key, if it fits.
#[inline]
pub(super) fn put_state(tail: &mut [u8], state: &[u8]) -> bool {
    let fits = 4 + state.len() <= tail.len();
    if fits {
        tail[..4].copy_from_slice(&(state.len() as u32).to_le_bytes());
        tail[4..4 + state.len()].copy_from_slice(state);
    }
    fits
}

/// Marks a row dead, given what follows its key.
pub(super) fn bury(tail: &mut [u8]) {
    tail[..4].copy_from_slice(&DEAD.to_le_bytes());
}

/// Room for a state that has grown to `length`: half as much again, so that growing bytes are copied, and left behind
/// dead, a logarithmic number of times.
pub(super) fn room_for(length: usize) -> usize {
    length + length / 2
}

/// A way to compare the key at the front of a row, chosen once a batch.
pub(super) trait KeyKind {
    /// Whether `row` has this key.
    fn same(row: &[u8], key: &[u8]) -> bool;
}

/// Keys of 8 bytes.
pub(super) struct OneWord;
/// Keys of 16 bytes.
pub(super) struct TwoWords;
/// Keys of any other fixed width.
pub(super) struct FixedKey;
/// Keys with their length before them.
pub(super) struct VariableKey;

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline(always)]
fn half_word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

impl KeyKind for OneWord {
    #[inline(always)]
    fn same(row: &[u8], key: &[u8]) -> bool {
        word(row, 0) == word(key, 0)
    }
}

impl KeyKind for TwoWords {
    #[inline(always)]
    fn same(row: &[u8], key: &[u8]) -> bool {
        (word(row, 0) ^ word(key, 0)) | (word(row, 8) ^ word(key, 8)) == 0
    }
}

impl KeyKind for FixedKey {
    #[inline(always)]
    fn same(row: &[u8], key: &[u8]) -> bool {
        same_key(&row[..key.len()], key)
    }
}

impl KeyKind for VariableKey {
    #[inline(always)]
    fn same(row: &[u8], key: &[u8]) -> bool {
        half_word(row, 0) as usize == key.len() && same_key(&row[4..4 + key.len()], key)
    }
}

/// Runs `$body` with `$K` as the [`KeyKind`] of a [`KeyWidth`].
macro_rules! by_key_kind {
    ($width:expr, $K:ident => $body:expr) => {
        match $width {
            fluvial_memory::KeyWidth::Fixed(8) => {
                type $K = $crate::aggregate::layout::OneWord;
                $body
            }
            fluvial_memory::KeyWidth::Fixed(16) => {
                type $K = $crate::aggregate::layout::TwoWords;
                $body
            }
            fluvial_memory::KeyWidth::Fixed(_) => {
                type $K = $crate::aggregate::layout::FixedKey;
                $body
            }
            fluvial_memory::KeyWidth::Variable => {
                type $K = $crate::aggregate::layout::VariableKey;
                $body
            }
        }
    };
}
pub(super) use by_key_kind;
