//! Ctrl-C and `kill`: the first signal ends the jobs in order, the second one the process. A streaming job has one more: the
//! first has it drain.

use fluvial_core::{Error, Interrupt, Result, exit_code};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// How long this process may take to end where no job runs: reading what files there are, printing a result.
const GRACE: Duration = Duration::from_millis(800);

/// The signal that came first; zero for none.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// How many signals came.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Has each SIGINT or SIGTERM raise `interrupt`, until the one that ends the process at once.
pub fn install(interrupt: &Interrupt) -> Result<()> {
    let failed = |e: io::Error| Error::Plan(format!("cannot listen to signals: {e}"));
    for signal in [SIGINT, SIGTERM] {
        let interrupt = interrupt.clone();
        let count = move || {
            let before = COUNT.fetch_add(1, SeqCst);
            // Here, in the handler itself, so that it works whatever the threads are doing.
            if before > usize::from(interrupt.is_gentle()) {
                low_level::exit(code(signal).into());
            }
        };
        // SAFETY: reads and changes atomics, and ends the process without running anything more of it: all of that may be
        // done in a handler.
        unsafe { low_level::register(signal, count) }.map_err(failed)?;
    }
    // Beyond the limit on the size of files (`ulimit -f`) a write then fails and is reported, where it would have ended the
    // process without a word.
    flag::register(SIGXFSZ, Arc::default()).map_err(failed)?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let interrupt = interrupt.clone();
    let listen = move || {
        let mut raised = 0;
        for signal in signals.forever() {
            let _ = CAUGHT.compare_exchange(0, signal, SeqCst, SeqCst);
            // Two that come at once are seen here as one.
            while raised < COUNT.load(SeqCst) {
                raised += 1;
                if interrupt.raise() == 0 {
                    // Nothing is half done, and no job begins any more.
                    std::thread::sleep(GRACE);
                    super::say(&Error::Interrupted);
                    std::process::exit(code(signal).into());
                }
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map(drop).map_err(failed)
}

/// The exit code of an interrupted process, by the signal that it got itself, if any.
pub fn interrupted_code() -> u8 {
    match CAUGHT.load(SeqCst) {
        0 => exit_code::INTERRUPTED,
        signal => code(signal),
    }
}

/// As a shell has it.
fn code(signal: i32) -> u8 {
    exit_code::INTERRUPTED - SIGINT as u8 + signal as u8
}
