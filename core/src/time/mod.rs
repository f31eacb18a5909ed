//! Event time and processing time.
mod clock;
pub use clock::Clock;
