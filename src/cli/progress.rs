use fluvial_core::{Env, Result, SuperstepReport, format_bytes};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// Runs a job; on a terminal with a bar that shows records, spilled bytes and the time left.
pub fn show<T>(env: &Env, run: impl FnOnce() -> Result<T>) -> Result<T> {
    if !std::io::stderr().is_terminal() || env.config().process != 0 {
        return run();
    }
    let bar = ProgressBar::new(1);
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {percent}% {msg}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    std::thread::scope(|scope| {
        let (done, finished) = channel::<()>();
        let (ticking, monitor) = (bar.clone(), env.monitor());
        scope.spawn(move || {
            let mut supersteps = 0;
            let mut goes_on = true;
            while goes_on {
                goes_on = finished.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout);
                let ended = monitor.supersteps(supersteps);
                supersteps = ended.last().map_or(supersteps, |last| last.superstep + 1);
                ended.iter().for_each(|superstep| ticking.println(line(superstep)));
                let now = monitor.progress();
                ticking.set_length(now.parts.max(1));
                ticking.set_position(now.parts_read);
                let spilled =
                    if now.spilled_bytes > 0 { format!(", {} spilled", format_bytes(now.spilled_bytes)) } else { String::new() };
                ticking.set_message(format!("{} records, {}{spilled}", now.rows_read, format_bytes(now.bytes_read)));
            }
        });
        let result = run();
        drop(done);
        bar.finish_and_clear();
        result
    })
}

/// A line about a superstep that has ended.
fn line(superstep: &SuperstepReport) -> String {
    let values = superstep.values.iter().map(|(name, value)| format!(", {name} {value:.6}")).collect::<String>();
    format!("superstep {}: {} records{values}, {:.3} s", superstep.superstep, superstep.workset, superstep.seconds)
}
