//! Serves the metrics over HTTP: `GET /metrics`.
//!
//! One thread, on which every scrape takes a snapshot of its own; so nothing is computed for nobody. Connections that say
//! nothing are closed, and there are only so many at a time: whoever can reach the port cannot hold up more than that.

use super::Metrics;
use crate::{Error, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Connections at a time.
const CONNECTIONS: usize = 32;
/// How long a connection may take to send a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after a connection could not be taken, for want of file handles say.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads where metrics are to be served: `host:port`, or `:port` on loopback. Port 0 takes a free one.
///
/// ```
/// use fluvial_core::parse_metrics_addr;
/// assert_eq!(parse_metrics_addr(":9464").unwrap().to_string(), "127.0.0.1:9464");
/// assert_eq!(parse_metrics_addr("0.0.0.0:80").unwrap().to_string(), "0.0.0.0:80");
/// assert_eq!(parse_metrics_addr("[::1]:80").unwrap().to_string(), "[::1]:80");
/// assert!(parse_metrics_addr("9464").is_err());
/// ```
///
/// # Errors
/// A message that says what was expected.
pub fn parse_metrics_addr(text: &str) -> std::result::Result<SocketAddr, String> {
    let expected = || format!("`{text}`: expected host:port, or :port for this host alone");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port: u16 = port.parse().map_err(|_| expected())?;
    if host.is_empty() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let found = text.to_socket_addrs().map_err(|e| format!("`{text}`: {e}"))?.next();
    found.ok_or_else(|| format!("`{text}`: no address of that name"))
}

/// The address of the process so many ports further on.
///
/// # Errors
/// [`Error::Plan`] where there is no such port.
pub(crate) fn of_process(address: SocketAddr, process: usize) -> Result<SocketAddr> {
    if address.port() == 0 {
        return Ok(address);
    }
    let port = u16::try_from(process).ok().and_then(|process| address.port().checked_add(process));
    let port = port.ok_or_else(|| Error::Plan(format!("no port for the metrics of process {process} after {address}")))?;
    Ok(SocketAddr::new(address.ip(), port))
}

/// # Errors
/// [`Error::Plan`] if the address is in use or not of this host.
pub(crate) fn check(address: SocketAddr) -> Result<()> {
    bind(address).map(drop)
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|e| failed(address, &e))
}

fn failed(address: SocketAddr, error: &io::Error) -> Error {
    Error::Plan(format!("cannot serve metrics on {address}: {error}"))
}

/// A server that runs until it is dropped.
pub(crate) struct MetricsServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// # Errors
    /// [`Error::Plan`] if the address is in use or not of this host.
    pub(crate) fn start(address: SocketAddr, metrics: Metrics) -> Result<Self> {
        let listener = bind(address)?;
        let failed = |e: io::Error| failed(address, &e);
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, metrics) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("metrics server".into()).spawn(serve).map_err(failed)?;
        Ok(Self { address: bound, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic in there has been reported.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(listener: tokio::net::TcpListener, metrics: Metrics) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, &metrics))));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            // Whoever broke off the connection knows.
            let _ = http.serve_connection(TokioIo::new(socket), answer).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, metrics.prometheus()),
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "The metrics are at /metrics\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = if status == StatusCode::OK { "text/plain; version=0.0.4; charset=utf-8" } else { "text/plain; charset=utf-8" };
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(text));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn ask(address: SocketAddr, line: &str) -> String {
        let mut socket = TcpStream::connect(address).unwrap();
        write!(socket, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn answers_what_it_has_and_refuses_the_rest() {
        let server = MetricsServer::start(parse_metrics_addr(":0").unwrap(), Metrics::default()).unwrap();
        let address = server.address();
        assert!(address.ip().is_loopback());
        let metrics = ask(address, "GET /metrics");
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n") && metrics.contains("text/plain; version=0.0.4"), "{metrics}");
        assert!(ask(address, "GET /").starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "POST /metrics").starts_with("HTTP/1.1 405 "));
        // A connection that says nothing is not in the way, of others or of the end.
        let _silent = TcpStream::connect(address).unwrap();
        assert!(ask(address, "HEAD /metrics").starts_with("HTTP/1.1 200 OK\r\n"));
        drop(server);
        // The port is free again.
        drop(MetricsServer::start(address, Metrics::default()).unwrap());
    }

    #[test]
    fn an_address_in_use_is_an_error_that_names_it() {
        let server = MetricsServer::start(parse_metrics_addr(":0").unwrap(), Metrics::default()).unwrap();
        let error = MetricsServer::start(server.address(), Metrics::default()).err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot serve metrics on {}: ", server.address())), "{error}");
    }

    #[test]
    fn each_process_has_a_port_of_its_own() {
        let address: SocketAddr = "127.0.0.1:65534".parse().unwrap();
        assert_eq!(of_process(address, 1).unwrap().port(), 65535);
        assert!(of_process(address, 2).is_err());
        assert_eq!(of_process("127.0.0.1:0".parse().unwrap(), 7).unwrap().port(), 0);
    }

    #[test]
    fn addresses_that_make_no_sense_say_what_was_expected() {
        for text in ["", "9464", ":", ":x", ":70000", "localhost"] {
            assert!(parse_metrics_addr(text).unwrap_err().contains("expected host:port"), "{text}");
        }
    }
}
