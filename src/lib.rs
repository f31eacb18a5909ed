//! Fluvial.
