//! Ctrl-C and `kill`: the first signal ends the jobs in order, the second one the process.

use fluvial_core::{Error, Interrupt, Result, exit_code};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::time::Duration;

/// How long this process may take to end where no job runs: reading what files there are, printing a result.
const GRACE: Duration = Duration::from_millis(800);

/// The signal that came first; zero for none.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// Has the first SIGINT or SIGTERM raise `interrupt`, and the second one end the process at once.
pub fn install(interrupt: &Interrupt) -> Result<()> {
    let failed = |e: io::Error| Error::Plan(format!("cannot listen to signals: {e}"));
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down. This part runs in the handler itself, so that it works
        // whatever the threads are doing.
        flag::register_conditional_shutdown(signal, code(signal).into(), again.clone()).map_err(failed)?;
        flag::register(signal, again.clone()).map_err(failed)?;
    }
    // Beyond the limit on the size of files (`ulimit -f`) a write then fails and is reported, where it would have ended the
    // process without a word.
    flag::register(SIGXFSZ, Arc::default()).map_err(failed)?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let interrupt = interrupt.clone();
    let listen = move || {
        let Some(signal) = signals.forever().next() else { return };
        CAUGHT.store(signal, SeqCst);
        if interrupt.raise() == 0 {
            // Nothing is half done, and no job begins any more.
            std::thread::sleep(GRACE);
            super::say(&Error::Interrupted);
            std::process::exit(code(signal).into());
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
