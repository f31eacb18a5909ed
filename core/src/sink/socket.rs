use super::outbox::{Outbox, Senders, Sent, receive};
use crate::graph::{Body, Distribution, OperatorFactory, TaskContext};
use crate::table::Idle;
use crate::{Batch, Data, DataStream, Error, Operator, Output, Progress, Result, Waker};
use std::fmt::Display;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};

/// Pieces of text, of about a batch each, on their way to the thread that writes.
const PIECES: usize = 8;

/// How a socket sink connects.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// How often in a row it tries again to connect, at the start and after the connection broke, before the job fails.
    /// Default: 0. What was being written when a connection broke is written again from the beginning of its piece: lines
    /// may come twice, one of them cut. What the system had taken before it noticed is lost.
    pub retries: u32,
    /// Time before each further attempt. Default: one second.
    pub retry_delay: Duration,
    /// How long one attempt may take. Default: ten seconds.
    pub connect_timeout: Duration,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { retries: 0, retry_delay: Duration::from_secs(1), connect_timeout: Duration::from_secs(10) }
    }
}

impl<T: Data + Display> DataStream<T> {
    /// Adds a sink that writes the records to a TCP socket, a line each, as `Display` shows them. The job makes one connection,
    /// from its first process to `address` (`host:port`); where the other side reads slowly, the job waits. In a job with
    /// checkpoints records may be sent more than once; what was sent and not received when the process dies is lost, since TCP
    /// does not say what the other side has.
    ///
    /// ```
    /// use std::io::{BufRead, BufReader};
    /// # let env = fluvial_core::Env::default();
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// env.sequence(1..=3).map(|n| n * n).write_socket(listener.local_addr().unwrap().to_string());
    /// let other_side = std::thread::spawn(move || BufReader::new(listener.accept().unwrap().0).lines().count());
    /// env.execute("squares")?;
    /// assert_eq!(other_side.join().unwrap(), 3);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn write_socket(&self, address: impl Into<String>) {
        self.write_socket_with(address, SocketOptions::default());
    }

    /// Like [`DataStream::write_socket`], with options.
    pub fn write_socket_with(&self, address: impl Into<String>, options: SocketOptions) {
        let address: String = address.into();
        let to = address.clone();
        let make: OperatorFactory = Arc::new(move |context| {
            if context.process > 0 {
                return Ok(Box::new(Idle));
            }
            Ok(Box::new(SocketLines::<T>::open(&to, &options, context)?))
        });
        let mut node = self.after("write_socket", address, Body::Operator(make));
        node.outputs = 0;
        node.inputs[0].distribution = Distribution::to_first_process(self.env.config());
        self.env.add_sink(node);
    }
}

/// What the operators and the thread that writes know of each other.
struct Connection {
    address: String,
    options: SocketOptions,
    state: Mutex<State>,
    /// The job has failed.
    aborted: Condvar,
}

#[derive(Default)]
struct State {
    /// What becomes of the socket while somebody writes to it.
    stream: Option<TcpStream>,
    aborted: bool,
    /// What the thread ended with.
    result: Option<std::result::Result<(), String>>,
    /// Operators that wait for its end.
    waiting: Vec<Waker>,
}

impl Connection {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's life.
    fn run(&self, mut texts: Receiver<Vec<u8>>) {
        let result = self.write_all(&mut texts).map_err(|e| e.to_string());
        let mut state = self.lock();
        state.stream = None;
        state.result = Some(result);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        // Only now, so that whoever finds the channel closed finds the reason too.
        drop(texts);
        waiting.iter().for_each(|wake| wake());
    }

    fn write_all(&self, texts: &mut Receiver<Vec<u8>>) -> io::Result<()> {
        let mut stream = self.connect()?;
        while let Some(text) = receive(texts) {
            while let Err(error) = stream.write_all(&text) {
                if self.options.retries == 0 || self.lock().aborted {
                    return Err(error);
                }
                stream = self.connect()?;
            }
        }
        stream.flush()?;
        stream.shutdown(Shutdown::Write)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut left = self.options.retries;
        loop {
            let error = match self.attempt() {
                Ok(stream) => return Ok(stream),
                Err(error) if left == 0 => return Err(error),
                Err(error) => error,
            };
            left -= 1;
            let (state, delay) = (self.lock(), self.options.retry_delay);
            let wait = self.aborted.wait_timeout_while(state, delay, |s| !s.aborted);
            if wait.unwrap_or_else(PoisonError::into_inner).0.aborted {
                return Err(error);
            }
        }
    }

    fn attempt(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.options.connect_timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let mut state = self.lock();
                    if state.aborted {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                    state.stream = Some(stream.try_clone()?);
                    drop(state);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// How the thread ended, once it has; else `wake` is called when it does.
    fn ended(&self, wake: &Waker) -> Option<Result<()>> {
        let mut state = self.lock();
        match &state.result {
            Some(result) => Some(result.clone().map_err(|m| self.error(m))),
            None => {
                state.waiting.push(wake.clone());
                None
            }
        }
    }

    fn error(&self, message: String) -> Error {
        Error::Connection { address: self.address.clone(), message }
    }

    /// Ends the thread, whatever it waits for.
    fn abort(&self) {
        let mut state = self.lock();
        state.aborted = true;
        if let Some(stream) = state.stream.take() {
            // It may be broken already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.aborted.notify_all();
    }
}

/// Writes records as lines.
struct SocketLines<T> {
    connection: Arc<Connection>,
    /// `None` once everything has been handed over.
    outbox: Option<Outbox<Vec<u8>>>,
    /// What there has not been room for.
    waiting: Option<Vec<u8>>,
    waker: Waker,
    takes: PhantomData<fn(T)>,
}

impl<T> SocketLines<T> {
    fn open(address: &str, options: &SocketOptions, context: &TaskContext) -> Result<Self> {
        struct Opened(std::result::Result<(Arc<Connection>, Senders<Vec<u8>>), String>);
        let opened = context.shared(|| {
            let (sender, receiver) = channel(PIECES);
            let connection = Arc::new(Connection {
                address: address.to_owned(),
                options: options.clone(),
                state: Mutex::default(),
                aborted: Condvar::new(),
            });
            let writer = connection.clone();
            let started = thread::Builder::new().name("write_socket".into()).spawn(move || writer.run(receiver));
            let senders = Senders::new(sender, context.local_workers);
            Opened(started.map(|_| (connection, senders)).map_err(|e| format!("the thread that writes: {e}")))
        });
        let failed = |message: &str| Error::Connection { address: address.to_owned(), message: message.to_owned() };
        let (connection, senders) = opened.0.as_ref().map_err(|e| failed(e))?;
        let sender = senders.take().ok_or_else(|| failed("more instances than workers"))?;
        Ok(Self {
            connection: connection.clone(),
            outbox: Some(Outbox::new(sender, &context.waker)),
            waiting: None,
            waker: context.waker.clone(),
            takes: PhantomData,
        })
    }
}

impl<T: Data + Display> Operator for SocketLines<T> {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let mut text = Vec::new();
        for record in batch.typed_records::<T>()? {
            writeln!(text, "{record}").map_err(|e| Error::User(format!("a record to write: {e}")))?;
        }
        self.waiting = Some(text);
        self.resume(out)
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        let (Some(outbox), Some(text)) = (&mut self.outbox, self.waiting.take()) else { return Ok(Progress::Done) };
        match outbox.send(text) {
            Sent::Yes => Ok(Progress::Done),
            Sent::Full(text) => {
                self.waiting = Some(text);
                Ok(Progress::Waiting)
            }
            Sent::Closed(_) => {
                let broken = || Err(self.connection.error("the thread that writes is gone".into()));
                self.connection.ended(&self.waker).unwrap_or_else(broken).map(|()| Progress::Done)
            }
        }
    }

    fn finish(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        self.outbox = None;
        self.connection.ended(&self.waker).map_or(Ok(Progress::Waiting), |result| result.map(|()| Progress::Done))
    }

    fn abort(&mut self) {
        self.outbox = None;
        self.connection.abort();
    }
}

impl<T> Drop for SocketLines<T> {
    fn drop(&mut self) {
        // Without effect on a thread that has ended.
        if self.outbox.is_some() {
            self.connection.abort();
        }
    }
}
