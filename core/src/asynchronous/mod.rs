//! Async I/O: a user's `async fn` over the records of a stream, many requests under way at a time.
//!
//! Requests run on the process's tokio runtime; a worker starts them, goes on with other operators, and is woken by results.
//! [`Requests`] knows the records that are under way, their order, and how far event time may advance meanwhile: the
//! watermark waits for the requests of the records before it, the records after it do not wait for the watermark. So no
//! result becomes late on its way, ordered or not, and a slow request holds back event time, not the other requests. The idea
//! of ordered and unordered operators of bounded capacity is Flink's; there, unordered results do not overtake those of
//! records before the watermark in front of them.
//!
//! Invariant: until its results are sent, the operator keeps a record. Records kept are the state: restored, they are
//! requested again, so the service is asked at least once for each and its answer goes on exactly once.
//!
//! Trade-off: a request costs two allocations and a task, about a microsecond. For functions that do not wait there is
//! [`DataStream::map`](crate::DataStream::map).

mod operator;
mod request;
mod requests;
mod step;
#[cfg(test)]
mod tests;

pub use request::Backoff;
pub use step::AsyncMap;
