//! Values as states hold them: bytes at any alignment, little endian.

use arrow_buffer::{ArrowNativeType, IntervalDayTime, IntervalMonthDayNano, i256};
use half::f16;

/// A value that is kept in a state.
pub(super) trait Stored: Copy {
    /// Bytes it takes.
    const WIDTH: usize;
    /// From `WIDTH` bytes.
    fn load(bytes: &[u8]) -> Self;
    /// To `WIDTH` bytes.
    fn store(self, bytes: &mut [u8]);
}

/// A native value of an Arrow column that has an order.
pub(super) trait Number: Stored + ArrowNativeType {
    /// No value is less.
    const LEAST: Self;
    /// No value is greater.
    const GREATEST: Self;
    /// The order: NaN after all others and equal to itself, -0.0 equal to 0.0.
    fn less(self, other: Self) -> bool;
}

/// What sums are collected in.
pub(super) trait Total: Stored + Default {
    /// The sum, and whether it overflows.
    fn plus(self, other: Self) -> (Self, bool);
    /// The nearest float, for averages.
    fn float(self) -> f64;
}

macro_rules! stored {
    ($($T:ty)*) => {$(
        impl Stored for $T {
            const WIDTH: usize = size_of::<$T>();
            #[inline(always)]
            fn load(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$T>()];
                own.copy_from_slice(bytes);
                <$T>::from_le_bytes(own)
            }
            #[inline(always)]
            fn store(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
stored!(i8 i16 i32 i64 i128 i256 u8 u16 u32 u64 f16 f32 f64);

macro_rules! integers {
    ($($T:ty)*) => {$(
        impl Number for $T {
            const LEAST: Self = <$T>::MIN;
            const GREATEST: Self = <$T>::MAX;
            #[inline(always)]
            fn less(self, other: Self) -> bool {
                self < other
            }
        }
    )*};
}
integers!(i8 i16 i32 i64 i128 i256 u8 u16 u32 u64);

macro_rules! floats {
    ($($T:ty)*) => {$(
        impl Number for $T {
            const LEAST: Self = <$T>::NEG_INFINITY;
            const GREATEST: Self = <$T>::NAN;
            #[inline(always)]
            fn less(self, other: Self) -> bool {
                self < other || (other.is_nan() && !self.is_nan())
            }
        }
    )*};
}
floats!(f16 f32 f64);

impl Stored for IntervalDayTime {
    const WIDTH: usize = 8;
    fn load(bytes: &[u8]) -> Self {
        Self::new(i32::load(&bytes[..4]), i32::load(&bytes[4..8]))
    }
    fn store(self, bytes: &mut [u8]) {
        self.days.store(&mut bytes[..4]);
        self.milliseconds.store(&mut bytes[4..8]);
    }
}

impl Stored for IntervalMonthDayNano {
    const WIDTH: usize = 16;
    fn load(bytes: &[u8]) -> Self {
        Self::new(i32::load(&bytes[..4]), i32::load(&bytes[4..8]), i64::load(&bytes[8..16]))
    }
    fn store(self, bytes: &mut [u8]) {
        self.months.store(&mut bytes[..4]);
        self.days.store(&mut bytes[4..8]);
        self.nanoseconds.store(&mut bytes[8..16]);
    }
}

/// Intervals order by their components, the largest unit first, as keys do.
macro_rules! intervals {
    ($($T:ty)*) => {$(
        impl Number for $T {
            const LEAST: Self = <$T>::MIN;
            const GREATEST: Self = <$T>::MAX;
            fn less(self, other: Self) -> bool {
                self < other
            }
        }
    )*};
}
intervals!(IntervalDayTime IntervalMonthDayNano);

/// A sum of 64-bit integers, or of decimals of up to 18 digits, in 96 bits: it cannot overflow in fewer than 2^32 rows,
/// so the result does not depend on the order of the rows, and takes 4 bytes less than an `i128`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wide(pub(super) i128);

impl Stored for Wide {
    const WIDTH: usize = 12;
    #[inline(always)]
    fn load(bytes: &[u8]) -> Self {
        let low = u64::load(&bytes[..8]);
        let high = i32::load(&bytes[8..12]);
        Self(i128::from(high) << 64 | i128::from(low))
    }
    #[inline(always)]
    fn store(self, bytes: &mut [u8]) {
        (self.0 as u64).store(&mut bytes[..8]);
        ((self.0 >> 64) as i32).store(&mut bytes[8..12]);
    }
}

impl Total for Wide {
    #[inline(always)]
    fn plus(self, other: Self) -> (Self, bool) {
        // The second may be any value of a column, the first is in 96 bits.
        let (sum, overflow) = self.0.overflowing_add(other.0);
        let high = (sum >> 64) as i64;
        (Self(sum), overflow | (i64::from(high as i32) != high))
    }
    #[inline]
    fn float(self) -> f64 {
        self.0 as f64
    }
}

macro_rules! totals {
    ($($T:ty)*) => {$(
        impl Total for $T {
            #[inline(always)]
            fn plus(self, other: Self) -> (Self, bool) {
                self.overflowing_add(other)
            }
            #[inline]
            fn float(self) -> f64 {
                self as f64
            }
        }
    )*};
}
totals!(i64 u64 i128);

impl Total for i256 {
    #[inline]
    fn plus(self, other: Self) -> (Self, bool) {
        match self.checked_add(other) {
            Some(sum) => (sum, false),
            None => (self.wrapping_add(other), true),
        }
    }
    fn float(self) -> f64 {
        if let Some(small) = self.to_i128() {
            return small as f64;
        }
        let (low, high) = self.wrapping_abs().to_parts();
        let magnitude = high as f64 * 2f64.powi(128) + low as f64;
        if self.is_negative() { -magnitude } else { magnitude }
    }
}

impl Total for f64 {
    #[inline(always)]
    fn plus(self, other: Self) -> (Self, bool) {
        (self + other, false)
    }
    #[inline]
    fn float(self) -> f64 {
        self
    }
}
