//! Windows: finite pieces of streams that need not end.

pub(crate) mod aligned;
mod time_window;

pub use time_window::{TimeWindow, Windowed};
