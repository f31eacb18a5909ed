//! Iterations as a user writes them.

mod asynchronous;
mod bulk;
mod checkpoints;
mod delta;
mod feedback;
mod kit;
mod processes;
