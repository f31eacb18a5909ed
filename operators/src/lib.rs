//! Placeholder head, replaced with the crate's own.

pub mod aggregate;
