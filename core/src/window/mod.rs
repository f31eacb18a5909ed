//! Windows: finite pieces of streams that need not end.

mod time_window;

pub use time_window::{TimeWindow, Windowed};
