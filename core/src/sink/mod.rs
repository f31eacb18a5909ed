//! Where streams end: files that roll, a socket, a channel, a function, an iterator in the program.
//!
//! Invariants. A worker never waits: a sink whose receiver is slow keeps the batch in hand, says
//! [`Waiting`](crate::Progress::Waiting) and is woken when there is room, so that the slowness goes back to the sources. A
//! file has its name when it is complete and not before. The end of a job means that everything was handed over.
//!
//! In jobs with checkpoints:
//!
//! | sink | a job that goes on from a checkpoint |
//! |---|---|
//! | `write_transactional`, `write_files(..).transactional()` | has written each record exactly once |
//! | `write_files` | at least once: files are rolled at each checkpoint, those that came after it stay |
//! | `for_each` | at least once: the function has returned for every record before a checkpoint |
//! | `print` of a stream | at least once, in no order over the restart |
//! | `send_to`, `write_socket` | at least once while the process lives; what the other side has not received of what was sent before the checkpoint ends with the process |
//! | `collect`, `count` | exactly once: the records are state |
//! | `Table::write`, `DataStream::write`, `Table::print` | refused: their one result would be without what came before |
//!
//! Trade-off: a sink that may have to wait, or that has state, is an operator of its own and is not fused with the steps
//! before it; a function called for each record is fused.

mod callback;
mod channel;
mod files;
mod outbox;
mod records;
mod socket;
mod transaction;

pub use files::FileSink;
pub use records::CollectStream;
pub use socket::SocketOptions;
pub use transaction::{SinkContext, SinkNode, TransactionalSink};
