//! The one fixed hash over normalized key bytes: XXH3, 64 bits, seed 0.
//!
//! It decides exchange targets and key groups and is part of every on-disk format. The bits that choose a partition
//! inside an operator come from [`remix`], never from the hash itself: all rows that one worker receives already agree
//! in some of the hash's bits.

/// The fixed hash of a normalized key.
#[inline]
pub fn hash_bytes(key: &[u8]) -> u64 {
    match key.try_into() {
        Ok(word) => hash_word(word),
        Err(_) => xxhash_rust::xxh3::xxh3_64(key),
    }
}

/// The fixed hash of a key of 8 bytes, as most numbers are: XXH3 for that length, without a look at the length.
#[inline]
pub fn hash_word(key: [u8; 8]) -> u64 {
    // Bytes 8 to 16 of the standard secret, and 16 to 24.
    const FLIP: u64 = 0x1cad_21f7_2c81_017c ^ 0xdb97_9083_e96d_d4de;
    const FACTOR: u64 = 0x9fb2_1c65_1e98_df25;
    let mut h = u64::from_le_bytes(key).rotate_left(32) ^ FLIP;
    h ^= h.rotate_left(49) ^ h.rotate_left(24);
    h = h.wrapping_mul(FACTOR);
    h = (h ^ ((h >> 35) + 8)).wrapping_mul(FACTOR);
    h ^ (h >> 28)
}

/// Bits for partitioning and directories inside an operator, at recursion `level`; independent between levels
/// (the finalizer of MurmurHash3 over the hash and an odd multiple of the level).
#[inline]
pub fn remix(hash: u64, level: u32) -> u64 {
    let mut h = hash ^ (u64::from(level) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    h = (h ^ (h >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    h = (h ^ (h >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    h ^ (h >> 33)
}

/// Key groups: the grain in which keyed state is stored, moved and owned. Fixed, as it is part of every snapshot.
pub const KEY_GROUPS: u16 = 128;

/// The key group of a hash: its uppermost bits.
#[inline]
pub fn key_group(hash: u64) -> u16 {
    (hash >> (64 - KEY_GROUPS.trailing_zeros())) as u16
}

/// The worker among `workers` that owns a key group: each owns a contiguous range of them; of more workers than groups, some
/// own none.
#[inline]
pub fn group_owner(group: u16, workers: usize) -> usize {
    usize::from(group) * workers / usize::from(KEY_GROUPS)
}

/// The key groups that a worker owns.
pub fn owned_groups(worker: usize, workers: usize) -> std::ops::Range<u16> {
    let first = |worker: usize| (worker * usize::from(KEY_GROUPS)).div_ceil(workers) as u16;
    first(worker)..first(worker + 1)
}

/// The worker among `workers` that a hash belongs to.
#[inline]
pub fn target(hash: u64, workers: usize) -> usize {
    ((u128::from(hash) * workers as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_have_the_hash_of_their_bytes(word: u64) {
            prop_assert_eq!(hash_word(word.to_le_bytes()), xxhash_rust::xxh3::xxh3_64(&word.to_le_bytes()));
        }
    }

    #[test]
    fn every_key_group_has_one_owner() {
        for workers in 1..=200 {
            for group in 0..KEY_GROUPS {
                let owners: Vec<usize> = (0..workers).filter(|w| owned_groups(*w, workers).contains(&group)).collect();
                assert_eq!(owners, [group_owner(group, workers)], "{workers} workers, group {group}");
            }
        }
        assert_eq!((key_group(0), key_group(u64::MAX)), (0, KEY_GROUPS - 1));
    }
}
