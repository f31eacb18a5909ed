//! Where streams end: files that roll, a socket, a channel, a function, an iterator in the program.
//!
//! Invariants. A worker never waits: a sink whose receiver is slow keeps the batch in hand, says
//! [`Waiting`](crate::Progress::Waiting) and is woken when there is room, so that the slowness goes back to the sources. A
//! file has its name when it is complete and not before. The end of a job means that everything was handed over.
//!
//! Trade-off: a sink that may have to wait, or that has state, is an operator of its own and is not fused with the steps
//! before it; a function called for each record is fused.

mod callback;
mod channel;
mod files;
mod outbox;
mod records;
mod socket;

pub use files::FileSink;
pub use records::CollectStream;
pub use socket::SocketOptions;
