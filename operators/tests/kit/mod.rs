//! What tests of aggregation have in common.

use fluvial_memory::{Error, Result};
use fluvial_operators::aggregate::Aggregation;

/// Adds 8-byte integers.
#[derive(Clone)]
pub struct Sum;

impl Aggregation for Sum {
    fn width(&self) -> Option<usize> {
        Some(8)
    }

    fn merge(&self, state: &mut [u8], other: &[u8]) -> Result<()> {
        let sum = u64::from_le_bytes(state.try_into().unwrap()).checked_add(u64::from_le_bytes(other.try_into().unwrap()));
        let sum = sum.ok_or_else(|| Error::Unsupported("the sum overflows".into()))?;
        state.copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }
}

/// Pseudo-random numbers, the same each time.
pub fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::from_fn(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        Some(fluvial_memory::hash::remix(state, 0))
    })
}
