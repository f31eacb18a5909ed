//! The one fixed hash over normalized key bytes: XXH3, 64 bits, seed 0.
//!
//! It decides exchange targets and key groups and is part of every on-disk format. The bits that choose a partition
//! inside an operator come from [`remix`], never from the hash itself: all rows that one worker receives already agree
//! in some of the hash's bits.

/// The fixed hash of a normalized key.
#[inline]
pub fn hash_bytes(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
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

/// The worker among `workers` that a hash belongs to.
#[inline]
pub fn target(hash: u64, workers: usize) -> usize {
    ((u128::from(hash) * workers as u128) >> 64) as usize
}
