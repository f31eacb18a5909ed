//! Sockets between processes: a full mesh in which the higher index calls the lower one, and a handshake that keeps
//! processes of another restart, or of another shape, out.
//!
//! Both sides send the greeting, then read the other's: `FLUVIAL1`, generation, process, processes, threads, each a
//! big-endian `u64`.

use super::interrupt::Interrupt;
use super::job::Topology;
use super::mesh::RunConfig;
use crate::{Error, Result};
use fluvial_memory::{Extent, MemoryManager, SEGMENT_SIZE};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};
use timely::communication::allocator::zero_copy::bytes_slab::BytesRefill;

/// A silent peer is given up after about this long.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts to call a process that does not listen yet.
const RETRY: Duration = Duration::from_millis(20);
const MAGIC: [u8; 8] = *b"FLUVIAL1";

/// Connects this process with all others: entry `i` is the socket to process `i`, the own entry is `None`.
pub(super) fn connect(topology: Topology, config: &RunConfig) -> Result<Vec<Option<TcpStream>>> {
    let RunConfig { addresses, generation, connect_timeout, interrupt, .. } = config;
    let me = topology.process;
    if me >= addresses.len() {
        return Err(Error::Plan(format!("process {me} of {}: processes are numbered from 0", addresses.len())));
    }
    let deadline = Instant::now() + *connect_timeout;
    let greeting = Greeting {
        generation: *generation,
        process: me as u64,
        processes: addresses.len() as u64,
        threads: topology.threads as u64,
    };
    let mut sockets: Vec<Option<TcpStream>> = addresses.iter().map(|_| None).collect();
    // Listen before calling: whoever waits for this process need not retry.
    let listener = if me + 1 < addresses.len() { Some(listen(me, &addresses[me])?) } else { None };
    for (peer, address) in addresses.iter().enumerate().take(me) {
        sockets[peer] = Some(call(peer, address, greeting, deadline, interrupt)?);
    }
    if let Some(listener) = listener {
        while let Some(missing) = (me + 1..addresses.len()).find(|peer| sockets[*peer].is_none()) {
            interrupt.check()?;
            if let Some((peer, socket)) = accept(&listener, greeting, deadline, missing)? {
                sockets[peer] = Some(socket);
            }
        }
    }
    for (peer, socket) in sockets.iter().enumerate().filter_map(|(i, s)| s.as_ref().map(|s| (i, s))) {
        configure(socket).map_err(|e| lost(peer, format!("its socket could not be configured: {e}")))?;
    }
    Ok(sockets)
}

fn lost(process: usize, message: String) -> Error {
    Error::Peer { process, message }
}

fn listen(me: usize, address: &str) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
    listener.map_err(|e| Error::Plan(format!("process {me} cannot listen on {address}: {e}")))
}

fn call(peer: usize, address: &str, greeting: Greeting, deadline: Instant, interrupt: &Interrupt) -> Result<TcpStream> {
    loop {
        interrupt.check()?;
        let attempt = address.to_socket_addrs().and_then(|mut all| {
            let address = all.next().ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no address of that name"))?;
            let left = deadline.saturating_duration_since(Instant::now()).max(RETRY);
            let mut socket = TcpStream::connect_timeout(&address, left)?;
            let theirs = greeting.exchange(&mut socket, left)?;
            Ok((socket, theirs))
        });
        let problem = match attempt {
            Ok((socket, theirs)) => {
                // A process of an older generation is on its way out; one of a newer knows that this one is.
                if theirs.generation == greeting.generation {
                    check(greeting, theirs, peer)?;
                    return Ok(socket);
                }
                if theirs.generation > greeting.generation {
                    return Err(lost(
                        peer,
                        format!("it has been restarted (generation {} there, {} here)", theirs.generation, greeting.generation),
                    ));
                }
                format!("it is still of generation {}, this process of {}", theirs.generation, greeting.generation)
            }
            Err(error) => format!("{address}: {error}"),
        };
        if Instant::now() >= deadline {
            return Err(lost(peer, format!("not reached in time: {problem}")));
        }
        std::thread::sleep(RETRY);
    }
}

/// Takes one call, if one comes. Callers that are not of this mesh are dropped.
fn accept(listener: &TcpListener, greeting: Greeting, deadline: Instant, missing: usize) -> Result<Option<(usize, TcpStream)>> {
    match listener.accept() {
        Ok((mut socket, _)) => {
            let theirs = socket.set_nonblocking(false).and_then(|()| greeting.exchange(&mut socket, Duration::from_secs(2)));
            let Ok(theirs) = theirs else { return Ok(None) };
            if theirs.generation != greeting.generation {
                return Ok(None);
            }
            let peer = theirs.process as usize;
            check(greeting, theirs, peer)?;
            if peer <= greeting.process as usize || peer >= greeting.processes as usize {
                return Err(lost(peer, format!("process {peer} called process {}: indexes are given twice", greeting.process)));
            }
            Ok(Some((peer, socket)))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            if Instant::now() >= deadline {
                return Err(lost(missing, "it did not call in time".into()));
            }
            std::thread::sleep(RETRY);
            Ok(None)
        }
        Err(error) => Err(lost(missing, format!("waiting for its call: {error}"))),
    }
}

fn check(ours: Greeting, theirs: Greeting, peer: usize) -> Result<()> {
    if theirs.processes != ours.processes || theirs.threads != ours.threads {
        let (there, here) = ((theirs.processes, theirs.threads), (ours.processes, ours.threads));
        return Err(lost(
            peer,
            format!(
                "it runs as one of {} processes with {} threads, this one as one of {} with {}",
                there.0, there.1, here.0, here.1
            ),
        ));
    }
    if theirs.process != peer as u64 {
        return Err(lost(peer, format!("process {} answers at its address", theirs.process)));
    }
    Ok(())
}

fn configure(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new().with_time(PEER_TIMEOUT / 2).with_interval(PEER_TIMEOUT / 5).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Greeting {
    generation: u64,
    process: u64,
    processes: u64,
    threads: u64,
}

impl Greeting {
    fn exchange(self, socket: &mut TcpStream, timeout: Duration) -> io::Result<Self> {
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        let words = [self.generation, self.process, self.processes, self.threads].map(u64::to_be_bytes);
        socket.write_all(&MAGIC)?;
        socket.write_all(words.as_flattened())?;
        let mut theirs = [[0u8; 8]; 5];
        socket.read_exact(theirs.as_flattened_mut())?;
        if theirs[0] != MAGIC {
            return Err(io::Error::new(ErrorKind::InvalidData, "whoever answers does not speak this protocol"));
        }
        let [_, generation, process, processes, threads] = theirs.map(u64::from_be_bytes);
        Ok(Self { generation, process, processes, threads })
    }
}

/// Network buffers from the pool; from the heap where the pool has none left, because the network cannot wait.
pub(super) fn slabs(memory: &MemoryManager) -> Result<BytesRefill> {
    let reservation = memory.reserve("network", 0)?;
    let logic = move |size: usize| -> Box<dyn DerefMut<Target = [u8]> + Send> {
        match reservation.alloc_extent(size.div_ceil(SEGMENT_SIZE)) {
            Some(extent) => Box::new(Slab { extent, size }),
            None => Box::new(vec![0; size]),
        }
    };
    Ok(BytesRefill { logic: Arc::new(logic), limit: Some(2) })
}

struct Slab {
    extent: Extent,
    size: usize,
}

impl Deref for Slab {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.extent[..self.size]
    }
}

impl DerefMut for Slab {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.extent[..self.size]
    }
}
