//! Lines of text over TCP.

use super::inbox::{Feed, Inbox};
use super::lines::LineCutter;
use super::text::{Nowhere, StartReader, Text, TextSource};
use super::{LONGEST_LINE, add_source};
use crate::{DataStream, Env, Error, Result};
use socket2::{SockRef, TcpKeepalive};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Blocks of lines on their way to the worker.
const CAPACITY: usize = 16;

/// Longest time between two attempts to connect.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How long a connection is silent before the peer is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Time before connections are accepted again after one could not be.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

type LineFeed = Feed<Text<Infallible>>;

impl Env {
    /// The lines of text that the server at `address` (`host:port`) sends; the stream ends when it closes the connection.
    ///
    /// The first worker of the first process reads, so `rebalance` what is costly to process. A connection cannot be read
    /// again: a restored job goes on with what the server sends then.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use std::io::Write;
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?.to_string();
    /// let serving = std::thread::spawn(move || listener.accept()?.0.write_all(b"to be\nor not\n"));
    /// let env = Env::default();
    /// assert_eq!(env.socket(&address).stream().collect()?, ["to be", "or not"]);
    /// serving.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn socket(&self, address: impl Into<String>) -> SocketSource {
        let connecting =
            Connecting { address: address.into(), retries: 0, backoff: Duration::from_millis(500), longest: LONGEST_LINE };
        SocketSource { env: self.clone(), connecting }
    }

    /// The lines of text that clients send to `address`, all connections together, each line whole. It never ends by
    /// itself. The port is open from here on, in the first process of the job.
    ///
    /// # Errors
    /// [`Error::Connection`] if the port cannot be opened.
    pub fn socket_listen(&self, address: impl Into<String>) -> Result<SocketListener> {
        let address = address.into();
        let mut listener = None;
        if self.config().process == 0 {
            let bound = std::net::TcpListener::bind(&address).and_then(|l| l.set_nonblocking(true).map(|()| l));
            listener = Some(bound.map_err(|e| connection_error(&address, e))?);
        }
        Ok(SocketListener { env: self.clone(), address, listener: Arc::new(listener), longest: LONGEST_LINE })
    }
}

fn connection_error(address: &str, message: impl ToString) -> Error {
    Error::Connection { address: address.to_owned(), message: message.to_string() }
}

/// A source of lines from a server, before it is made a stream; see [`Env::socket`].
#[must_use = "a source is part of the job once it is a stream"]
pub struct SocketSource {
    env: Env,
    connecting: Connecting,
}

/// How a connection is made.
#[derive(Clone)]
struct Connecting {
    address: String,
    retries: u32,
    backoff: Duration,
    longest: usize,
}

impl SocketSource {
    /// Connects again when the connection fails, cannot be made or is closed by the server, up to so many times in a row
    /// without a line in between; then the job fails. Without retries it fails at once, and a connection that is closed
    /// is the end of the stream. What was sent while there was no connection is lost, as is a line that was cut off.
    pub fn retries(mut self, retries: u32) -> Self {
        self.connecting.retries = retries;
        self
    }

    /// How long to wait before the first of several attempts to connect again; doubled each time, up to 30 s. Half a
    /// second if nothing is said.
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.connecting.backoff = backoff;
        self
    }

    /// The longest line in bytes, 1 MiB if nothing is said. The job fails on a longer one.
    pub fn longest_line(mut self, bytes: usize) -> Self {
        self.connecting.longest = bytes;
        self
    }

    /// The stream of its lines, without their ends (`\n` or `\r\n`).
    pub fn stream(self) -> DataStream<String> {
        let Self { env, connecting } = self;
        let detail = connecting.address.clone();
        add_source(&env, "socket", detail, None, move |context, next| {
            let connecting = connecting.clone();
            let start: StartReader<Nowhere> =
                Box::new(|_, waker| Inbox::spawn_task(CAPACITY, waker, |feed| follow(connecting, feed)));
            Ok(Box::new(TextSource::new(context, next.into()?, (context.worker == 0).then_some(start))))
        })
    }
}

/// How reading a connection ended.
enum End {
    /// Nobody takes any more, or has been told what is wrong.
    Over,
    /// The peer has closed the connection.
    Closed,
    Lost(std::io::Error),
}

/// Reads one connection after another.
async fn follow(connecting: Connecting, feed: LineFeed) {
    let Connecting { address, retries, backoff, longest } = connecting;
    let mut attempts = 0;
    loop {
        let connected = TcpStream::connect(&address).await;
        let end = match connected {
            Ok(stream) => {
                let mut cutter = LineCutter::new(0, longest, 0, 1);
                let end = read(stream, &mut cutter, &address, &feed).await;
                if cutter.read_to() > 0 {
                    attempts = 0;
                }
                end
            }
            Err(error) => End::Lost(error),
        };
        let problem = match end {
            End::Over => return,
            End::Closed if retries == 0 => return,
            End::Closed => "closed by the server".to_owned(),
            End::Lost(error) => error.to_string(),
        };
        if attempts == retries {
            let tried = if retries == 0 { String::new() } else { format!(", after {retries} more attempts") };
            feed.send(Err(connection_error(&address, problem + &tried))).await;
            return;
        }
        tracing::warn!(address, problem, "connecting again");
        sleep(backoff.saturating_mul(1 << attempts.min(16)).min(LONGEST_BACKOFF)).await;
        attempts += 1;
    }
}

/// Reads a connection to its end.
async fn read(mut stream: TcpStream, cutter: &mut LineCutter, peer: &str, feed: &LineFeed) -> End {
    // A peer that is gone without a word is noticed by this alone.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
        tracing::warn!(peer, %error, "no keepalive on this connection");
    }
    loop {
        cutter.buffer().reserve(CHUNK);
        let ended = match stream.read_buf(cutter.buffer()).await {
            Ok(bytes) => bytes == 0,
            Err(error) => return End::Lost(error),
        };
        match if ended { cutter.rest() } else { cutter.cut() } {
            Ok(Some(block)) => {
                if !feed.send(Ok(Text::Block(block))).await {
                    return End::Over;
                }
            }
            Ok(None) => {}
            Err(problem) => {
                feed.send(Err(connection_error(peer, problem))).await;
                return End::Over;
            }
        }
        if ended {
            return End::Closed;
        }
    }
}

/// A source of lines from clients, before it is made a stream; see [`Env::socket_listen`].
#[must_use = "a source is part of the job once it is a stream"]
pub struct SocketListener {
    env: Env,
    address: String,
    /// In the first process only.
    listener: Arc<Option<std::net::TcpListener>>,
    longest: usize,
}

impl SocketListener {
    /// Where clients connect to: with the port that the system chose where port 0 was asked for. `None` in processes other
    /// than the first.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref().as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The longest line in bytes, 1 MiB if nothing is said. The job fails on a longer one.
    pub fn longest_line(self, bytes: usize) -> Self {
        Self { longest: bytes, ..self }
    }

    /// The stream of the lines of all clients, without their ends (`\n` or `\r\n`). The first worker of the first process
    /// reads them.
    pub fn stream(self) -> DataStream<String> {
        let Self { env, address, listener, longest } = self;
        let detail = address.clone();
        add_source(&env, "socket_listen", detail, None, move |context, next| {
            let (listener, address) = (listener.clone(), address.clone());
            let start: StartReader<Nowhere> = Box::new(move |_, waker| {
                let listener = listener.as_ref().as_ref().map(std::net::TcpListener::try_clone).transpose();
                let listener = listener.map_err(|e| connection_error(&address, e))?;
                Inbox::spawn_task(CAPACITY, waker, move |feed| accept(listener, longest, address, feed))
            });
            Ok(Box::new(TextSource::new(context, next.into()?, (context.worker == 0).then_some(start))))
        })
    }
}

/// Reads all connections that come.
async fn accept(listener: Option<std::net::TcpListener>, longest: usize, address: String, feed: LineFeed) {
    let Some(listener) = listener else { return };
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            feed.send(Err(connection_error(&address, error))).await;
            return;
        }
    };
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let feed = feed.clone();
                connections.spawn(async move {
                    let mut cutter = LineCutter::new(0, longest, 0, 1);
                    if let End::Lost(error) = read(stream, &mut cutter, &peer.to_string(), &feed).await {
                        tracing::warn!(%peer, %error, "a connection was lost");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(address, %error, "a connection could not be accepted");
                // Out of file descriptors, as a rule: trying at once would fail at once.
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Driven;
    use super::*;
    use std::io::{Read, Write};

    fn server() -> (std::net::TcpListener, SocketSource) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, Env::default().socket(address).backoff(Duration::from_millis(1)))
    }

    #[test]
    fn lines_come_as_they_are_sent_and_a_stop_closes_the_connection() {
        let (listener, source) = server();
        let mut driven = Driven::new(&source.stream(), 0, 2);
        let _ = driven.poll().unwrap();
        let mut connection = listener.accept().unwrap().0;
        connection.write_all(b"one\r\ntw").unwrap();
        assert_eq!(driven.until(1), ["one"]);
        connection.write_all(b"o\n\nthr").unwrap();
        assert_eq!(driven.until(3)[1..], ["two", ""]);
        driven.source.stop();
        assert_eq!(driven.run_to_end().len(), 3);
        assert_eq!(connection.read(&mut [0]).unwrap_or(0), 0);
    }

    #[test]
    fn a_lost_connection_is_made_again_as_often_as_was_said() {
        let (listener, source) = server();
        let address = listener.local_addr().unwrap();
        let mut driven = Driven::new(&source.retries(2).stream(), 0, 1);
        let _ = driven.poll().unwrap();
        for round in 0..4 {
            let mut connection = listener.accept().unwrap().0;
            writeln!(connection, "{round}").unwrap();
            drop(connection);
            assert_eq!(driven.until(round + 1).len(), round + 1);
        }
        drop(listener);
        let error = driven.run_to_error();
        assert!(error.starts_with(&address.to_string()) && error.ends_with("after 2 more attempts"), "{error}");
    }

    #[test]
    fn without_retries_a_refused_connection_is_an_error_and_so_is_what_is_no_text() {
        let (listener, source) = server();
        let address = listener.local_addr().unwrap();
        let mut driven = Driven::new(&source.stream(), 0, 1);
        let _ = driven.poll().unwrap();
        listener.accept().unwrap().0.write_all(b"good\n\xf0bad\n").unwrap();
        assert_eq!(driven.run_to_error(), format!("{address}: line 2, byte 5: not UTF-8 (0xf0)"));
        drop(listener);
        let error = Driven::new(&Env::default().socket(address.to_string()).stream(), 0, 1).run_to_error();
        assert!(error.starts_with(&address.to_string()), "{error}");
    }

    #[test]
    fn an_aborted_source_closes_its_connection() {
        let (listener, source) = server();
        let mut driven = Driven::new(&source.stream(), 0, 1);
        let _ = driven.poll().unwrap();
        let mut connection = listener.accept().unwrap().0;
        connection.write_all(b"x\n").unwrap();
        driven.until(1);
        driven.source.abort();
        assert_eq!(connection.read(&mut [0]).unwrap_or(0), 0);
    }

    #[test]
    fn the_lines_of_several_clients_are_whole() {
        let source = Env::default().socket_listen("127.0.0.1:0").unwrap();
        let address = source.local_addr().unwrap();
        let taken = Env::default().socket_listen(address.to_string());
        assert!(matches!(taken, Err(Error::Connection { address: named, .. }) if named == address.to_string()));
        let stream = source.stream();
        let mut driven = Driven::new(&stream, 0, 1);
        let mut clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        for part in ["a", "b\n"] {
            clients.iter_mut().for_each(|client| client.write_all(part.as_bytes()).unwrap());
        }
        assert_eq!(driven.until(3), ["ab", "ab", "ab"]);
        drop(clients);
        driven.source.stop();
        assert_eq!(driven.run_to_end().len(), 3);
    }
}
