//! What the command says of its operators while it runs.

use crate::kit::{Running, fails, fluvial, folder, input};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

#[test]
fn metrics_are_printed_as_a_table_at_the_end() {
    for processes in ["1", "2"] {
        let folder = folder();
        let out = folder.path().join("out.parquet");
        let sort = ["sort", &input("orders"), "--by", "o_custkey", "--out", out.to_str().unwrap(), "--threads", "1"];
        let output = fluvial(&[&sort[..], &["--metrics", "--processes", processes]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && output.stdout.is_empty(), "{said}");
        let last = &said[said.rfind("metrics of `sort`").unwrap()..];
        assert!(last.lines().next().unwrap().ends_with(" s, in all"), "{said}");
        let header = last.lines().nth(1).unwrap();
        for column in ["operator", "records in", "bytes out", "busy", "back-pressured", "idle"] {
            assert!(header.contains(column), "{said}");
        }
        let sort = last.lines().find(|l| l.starts_with("sort ")).unwrap_or_else(|| panic!("{said}"));
        if processes == "1" {
            assert!(sort.contains("15,000"), "{said}");
        }
    }
}

#[test]
fn metrics_are_served_while_it_runs() {
    let folder = folder();
    let out = folder.path().join("data");
    let generate = ["gen", "tpch", "--scale", "20", "--tables", "lineitem", "--out", out.to_str().unwrap(), "--threads", "1"];
    let mut running = Running::start(&[&generate[..], &["--metrics-addr", ":0"]].concat());
    let mut stderr = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_else(|| panic!("{line}"));
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    let scrape = || {
        let mut socket = TcpStream::connect(address).unwrap();
        write!(socket, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    running.until(|| scrape().contains("fluvial_job_running{job_name=\"gen tpch\"} 1\n"));
    assert!(scrape().contains("# TYPE fluvial_operator_busy_milliseconds_total counter\n"));
    running.signal("INT");
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "fluvial: interrupted\n");
}

#[test]
fn an_address_in_use_is_one_line_before_anything_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = folder();
    let out = folder.path().join("out.parquet");
    let fails_at = |port: u16, more: &[&str]| {
        let sort = ["sort", &input("orders"), "--by", "o_custkey", "--out", out.to_str().unwrap()];
        let error = fails(&[&sort[..], &["--metrics-addr", &format!(":{port}")], more].concat());
        assert!(error.contains("cannot serve metrics on 127.0.0.1:"), "{error}");
        assert!(!out.exists());
    };
    fails_at(port, &[]);
    // The second process takes the port after the first one's.
    fails_at(port - 1, &["--processes", "2", "--threads", "1"]);
}

#[test]
fn an_address_that_makes_no_sense_is_wrong_usage() {
    let output = fluvial(&["sort", "x.parquet", "--by", "a", "--out", "-", "--metrics-addr", "9464"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("expected host:port"), "{said}");
}
