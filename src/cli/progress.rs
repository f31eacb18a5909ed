use fluvial_core::{Env, Result, SuperstepReport, format_bytes};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// What the first process shows on a terminal while a job runs; nothing elsewhere. Clones show the same.
#[derive(Clone)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new(env: &Env) -> Self {
        let shown = std::io::stderr().is_terminal() && env.config().process == 0;
        Self { bar: shown.then(ProgressBar::hidden) }
    }

    /// Runs a job with a bar that shows records, spilled bytes and the time left.
    pub fn show<T>(&self, env: &Env, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(bar) = &self.bar else { return run() };
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        bar.set_length(1);
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
                    let spilled = if now.spilled_bytes > 0 {
                        format!(", {} spilled", format_bytes(now.spilled_bytes))
                    } else {
                        String::new()
                    };
                    ticking.set_message(format!("{} records, {}{spilled}", now.rows_read, format_bytes(now.bytes_read)));
                }
            });
            let result = run();
            drop(done);
            bar.finish_and_clear();
            result
        })
    }

    /// Shows a line, above the bar if there is one at present.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.println(line),
            // With standard error closed, there is nobody to be told.
            Some(_) => drop(writeln!(std::io::stderr(), "{line}")),
            None => {}
        }
    }
}

/// A line about a superstep that has ended.
fn line(superstep: &SuperstepReport) -> String {
    let values = superstep.values.iter().map(|(name, value)| format!(", {name} {value:.6}")).collect::<String>();
    format!("superstep {}: {} records{values}, {:.3} s", superstep.superstep, superstep.workset, superstep.seconds)
}
