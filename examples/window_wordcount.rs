//! Counts the words that come over a socket, every five seconds.
//!
//!     nc -lk 9999 &
//!     cargo run --release --example window_wordcount -- localhost:9999
//!     cargo run --release --example window_wordcount -- --small

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::prelude::*;
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

/// How often each word comes in each five seconds of processing time.
pub fn counts(lines: &DataStream<String>) -> DataStream<Windowed<String, TimeWindow, u64>> {
    lines
        .flat_map_with(|line, out| line.split_whitespace().for_each(|word| out.push(word.to_lowercase())))
        .key_by_ref(|word| word.as_str())
        .window(Tumbling::of(Duration::from_secs(5)).processing_time())
        .fold(0, |count, _| *count += 1)
}

fn main() -> Result<()> {
    let env = Env::default();
    let address = match std::env::args().nth(1) {
        Some(address) if address != "--small" => address,
        _ => serve().map_err(|e| Error::User(format!("a server on localhost: {e}")))?,
    };
    // One worker reads the connection, all of them count.
    let lines = env.socket(address).stream().rebalance();
    counts(&lines).map(|count| format!("{:>6}  {}", count.value, count.key)).print();
    env.execute("window_wordcount").map(drop)
}

/// A server that says something and hangs up; its address.
fn serve() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept()?;
        writeln!(connection, "to be or not to be\nthat is the question")
    });
    Ok(address)
}
