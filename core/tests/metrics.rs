//! Metrics are served while a job runs, and after it.

use crossbeam_channel::bounded;
use fluvial_core::{Config, Env, parse_metrics_addr};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

fn scrape(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(socket, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    answer
}

/// Sum of a metric's series.
fn sum(text: &str, metric: &str) -> f64 {
    let series = text.lines().filter(|l| l.split('{').next() == Some(metric));
    series.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn a_job_is_scraped_while_it_runs_and_after_it() {
    let env = Env::new(Config { threads: 1, metrics_addr: Some(parse_metrics_addr(":0").unwrap()), ..Config::default() });
    let address = env.serve_metrics().unwrap().unwrap();
    assert_eq!(env.serve_metrics().unwrap(), Some(address));
    assert!(scrape(address).ends_with("\r\n\r\n"), "no job, no metrics");

    let (begun, has_begun) = bounded::<()>(0);
    let (let_go, held) = bounded::<()>(0);
    let numbers = env.sequence(1..=10).rebalance().map(move |x| {
        if x == 1 {
            begun.send_timeout((), DEADLINE).unwrap();
            held.recv_timeout(DEADLINE).unwrap();
        }
        x * 2
    });
    let job = std::thread::spawn(move || numbers.collect().unwrap());
    has_begun.recv_timeout(DEADLINE).unwrap();
    let during = scrape(address);
    assert_eq!(sum(&during, "fluvial_job_running"), 1.0, "{during}");
    // The call that is held counts as work.
    while sum(&scrape(address), "fluvial_operator_busy_milliseconds_total")
        <= sum(&during, "fluvial_operator_busy_milliseconds_total")
    {
        std::thread::yield_now();
    }
    let_go.send_timeout((), DEADLINE).unwrap();
    let mut doubled = job.join().unwrap();
    doubled.sort_unstable();
    assert_eq!(doubled, (1..=10).map(|x| x * 2).collect::<Vec<u64>>());

    let after = scrape(address);
    assert_eq!(sum(&after, "fluvial_job_running"), 0.0, "{after}");
    let names = after.lines().filter(|l| l.starts_with("fluvial_operator_records_in_total{"));
    assert!(names.clone().any(|l| l.contains("map") && l.ends_with(" 10")), "{after}");
    assert_eq!(sum(&after, "fluvial_operator_in_flight_bytes"), 0.0);
    let snapshot = env.metrics().snapshot();
    assert!(!snapshot.running && snapshot.seconds > 0.0);
    assert!(serde_json::to_string(&snapshot).unwrap().contains("\"records_in\":10"));

    env.close();
    assert!(TcpStream::connect(address).is_err(), "it is served until the environment is closed");
}

#[test]
fn an_address_in_use_is_known_before_anything_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config { threads: 1, metrics_addr: Some(taken.local_addr().unwrap()), ..Config::default() };
    let env = Env::new(config);
    let error = env.sequence(0..=1).map(|x| assert!(x > 1, "nothing is to run")).count().unwrap_err();
    assert!(error.to_string().starts_with("cannot serve metrics on 127.0.0.1:"), "{error}");
    drop(taken);
}
