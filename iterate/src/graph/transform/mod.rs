//! Graphs from graphs, and what is known of vertices without an algorithm.

mod edges;
mod neighbours;

pub use neighbours::Direction;
