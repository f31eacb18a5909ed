//! `fluvial supervise`: runs a command again when it has not ended well.

use super::args::Supervise;
use fluvial_core::{Error, Result, exit_code};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Tells a command how often it has been started again: its jobs then continue from their last checkpoints, and its processes
/// do not talk to those of earlier runs.
const GENERATION: &str = "FLUVIAL_GENERATION";
/// A run of this length makes the next delay the first one again.
const LONG_RUN: Duration = Duration::from_secs(300);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Runs the command until it ends well, is interrupted, or has failed too often. Gives its exit code.
pub fn run(args: &Supervise) -> Result<ExitCode> {
    let child = Arc::new(AtomicI32::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let (told, signal) = channel();
    let tell = move || {
        // Whoever waits is the one that ends.
        let _ = told.send(());
    };
    listen(child.clone(), stopped.clone(), tell)?;
    let (mut restarts, mut delay) = (0u64, args.delay);
    loop {
        let began = Instant::now();
        let status = run_once(args, restarts, &child)?;
        if stopped.load(SeqCst) || !worth_another_run(status) {
            return Ok(code(status));
        }
        if args.restarts.is_some_and(|most| restarts >= most) {
            say(&format!("the command ended with {status}, for the last time after {restarts} restarts"));
            return Ok(code(status));
        }
        if began.elapsed() >= LONG_RUN {
            delay = args.delay;
        }
        restarts += 1;
        say(&format!("the command ended with {status}; restart {restarts} in {}", humantime::format_duration(delay)));
        if signal.recv_timeout(delay) != Err(RecvTimeoutError::Timeout) {
            return Ok(ExitCode::from(exit_code::INTERRUPTED));
        }
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

fn run_once(args: &Supervise, generation: u64, child: &AtomicI32) -> Result<ExitStatus> {
    let program = &args.command[0];
    let cannot = |error| Error::Plan(format!("cannot run `{}`: {error}", program.to_string_lossy()));
    let mut command = Command::new(program);
    command.args(&args.command[1..]);
    if generation > 0 {
        command.env(GENERATION, generation.to_string());
    }
    let mut running = command.spawn().map_err(cannot)?;
    child.store(i32::try_from(running.id()).unwrap_or(0), SeqCst);
    let status = running.wait().map_err(cannot);
    child.store(0, SeqCst);
    status
}

/// Passes signals on to the command that runs, and notes that there was one.
fn listen(child: Arc<AtomicI32>, stopped: Arc<AtomicBool>, tell: impl Fn() + Send + 'static) -> Result<()> {
    let cannot = |error| Error::Plan(format!("cannot listen to signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(cannot)?;
    let pass_on = move || {
        for signal in signals.forever() {
            stopped.store(true, SeqCst);
            tell();
            let running = child.load(SeqCst);
            // Ctrl-C has come to all processes of the terminal already.
            if running > 0 && signal == SIGTERM {
                // SAFETY: sends a signal to a process by its number; the process is a child that has not been waited for.
                unsafe { libc::kill(running, signal) };
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(pass_on).map(drop).map_err(cannot)
}

/// Neither a good end, nor an interrupt, nor a command line that makes no sense.
fn worth_another_run(status: ExitStatus) -> bool {
    match status.code() {
        Some(code) => code != 0 && code != 2 && code != i32::from(exit_code::INTERRUPTED) && code != 128 + SIGTERM,
        // Killed: what this command is for.
        None => status.signal().is_some(),
    }
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(exit_code::FAILED))
}

fn say(line: &str) {
    // With standard error closed, nobody is told.
    let _ = writeln!(std::io::stderr(), "fluvial supervise: {line}");
}
