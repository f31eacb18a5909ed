//! Sources that need not end: a generator at a rate, sockets, followed folders and files, channels, streams of futures.
//!
//! A worker never blocks. What has to wait for somebody runs elsewhere (files on a thread of their reader, sockets and
//! streams on the process's tokio runtime) and hands what it has read to one worker through a bounded channel
//! ([`inbox`]), waking it; a worker that does not keep up leaves the channel full, so its reader waits, and with it,
//! where there is one, the other end of the connection. The generator has no reader: it says when its next record is due.
//!
//! Invariants. What an instance has taken from its channel it has emitted, apart from the block of text in hand, and its
//! position says exactly what was emitted: a snapshot is taken between two polls. Readers start with the first poll, so
//! after a restore, and end before the source does: `stop` closes the channel for new records and lets those that are in
//! it through; `abort` and drop end tasks and join threads.
//!
//! Sources of bounded data (`sequence`, `from_collection`, `generate`, files) have positions too: see `stream/source.rs` and
//! `queue.rs`. Those without any cannot be read again: a job that goes on from a checkpoint has lost what it took of them after it.
//!
//! | source | who reads | position |
//! |---|---|---|
//! | generator | worker `w` of `W` makes the numbers `w, w + W, ...` | the next number; restores to any number of workers |
//! | socket, socket_listen | the first worker of the first process | none: a connection is not replayable |
//! | follow_folder | each file by the worker that its name hashes to | files read, file and byte in hand |
//! | tail_file | the first worker of the first process | inode and byte |
//! | channel | in each process its first worker, the channel of that process | none |
//! | from_stream | the first worker of the first process | none |
//! | from_streams | every worker its own stream | none |

mod channel;
mod files;
mod folder;
mod futures;
mod generator;
mod inbox;
mod lanes;
mod lines;
pub(crate) mod position;
mod socket;
mod tail;
#[cfg(test)]
pub(crate) mod testing;
mod text;

pub use channel::{ChannelClosed, ChannelSender};
pub use folder::{FileOrder, FollowFolder};
pub use generator::Generator;
pub use socket::{SocketListener, SocketSource};
pub use tail::TailFile;

use crate::chain::AnyCollector;
use crate::graph::{Body, Estimate, Node, TaskContext, Timing};
use crate::stream::typed_port;
use crate::{Data, DataStream, Env, Result, Source};
use std::sync::Arc;

/// Records pushed in one call of a source.
const POLL_RECORDS: usize = 1024;

/// Longest line that a source of text takes unless it is told otherwise, in bytes.
const LONGEST_LINE: usize = 1 << 20;

/// Adds a source to the graph.
fn add_source<T: Data>(
    env: &Env,
    kind: &'static str,
    detail: String,
    count: Option<u64>,
    make: impl Fn(&TaskContext, AnyCollector) -> Result<Box<dyn Source>> + Send + Sync + 'static,
) -> DataStream<T> {
    let node = Node {
        kind,
        name: None,
        uid: None,
        detail,
        inputs: Vec::new(),
        build_input: None,
        body: Body::Source { make: Arc::new(make), port: typed_port::<T>() },
        memory: 0,
        outputs: 1,
        sides: Vec::new(),
        feedback: Vec::new(),
        aware: false,
        piecewise: crate::graph::Piecewise::Never,
        timing: Timing::AsTheyCome,
        bounded: count.is_some(),
        estimate: count.map(|count| Estimate { bytes: count as f64 * size_of::<T>() as f64 }),
    };
    DataStream::new(env, env.add(node))
}
