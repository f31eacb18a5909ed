//! Words of a socket by windows of a clock that is driven by hand.

use crate::window_wordcount::counts;
use fluvial::prelude::*;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn words_are_counted_every_five_seconds() {
    let clock = Clock::manual(1_000);
    let env = Env::new(Config { clock: clock.clone(), threads: 2, ..Config::default() });
    let (lines, stream) = env.channel::<String>(1);
    let (sender, results) = mpsc::channel();
    counts(&stream).for_each(move |count| sender.send(count).unwrap());
    // Of what was made of the environment nothing is left but the job: its end closes the results.
    drop(stream);
    let job = thread::spawn(move || env.execute("words").map(drop));

    // No result tells when a word has been counted, so the clock moves on, window by window, until the word comes out.
    let (mut now, start) = (1_000, Instant::now());
    for line in ["to BE", "be"] {
        lines.send_blocking(line.to_owned()).unwrap();
        let mut words = Vec::new();
        while words.len() < line.split(' ').count() {
            now += 5_000;
            clock.advance_to(now);
            if let Ok(Windowed { key, window, value }) = results.recv_timeout(Duration::from_millis(20)) {
                assert_eq!((window.start % 5_000, window.end - window.start), (0, 5_000));
                words.push((key, value));
            }
            assert!(start.elapsed() < DEADLINE, "no result");
        }
        words.sort();
        let mut expected: Vec<_> = line.to_lowercase().split(' ').map(|word| (word.to_owned(), 1)).collect();
        expected.sort();
        assert_eq!(words, expected);
    }
    // What is in a window at the end comes out.
    lines.send_blocking("or or not".into()).unwrap();
    drop(lines);
    let mut rest: Vec<_> = results.iter().map(|count| (count.key, count.value)).collect();
    rest.sort();
    assert_eq!(rest, [("not".to_owned(), 1), ("or".to_owned(), 2)]);
    job.join().unwrap().unwrap();
}
