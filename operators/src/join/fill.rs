//! Where the probe rows of a pass come from: each row goes to the probe if its partition is in memory, else to a spilled one.

use super::env::Env;
use super::pass::Pass;
use super::spool::{SpoolReader, SpoolStep, Spooled};
use super::tables::Probe;
use super::{FILL_BYTES, ROWS, Turn};
use fluvial_memory::{Result, RunReader, Step};

/// Takes rows that came while the build side was read.
pub(super) fn from_early(
    env: &Env,
    pass: &mut Pass,
    probe: &mut Probe,
    early: &mut Option<Box<(Spooled, SpoolReader)>>,
) -> Result<Turn> {
    let Some((rows, reader)) = early.as_deref_mut() else { return Ok(Turn::Again) };
    let form = env.stored(pass.build.other());
    for _ in 0..ROWS {
        match reader.next(rows)? {
            SpoolStep::Row(row) => {
                let mixed = env.mixed(form.key(row), pass.level);
                if pass.route(mixed, row)? {
                    probe.push(row, mixed);
                }
            }
            SpoolStep::Waiting if probe.is_done() => return Ok(Turn::Waiting),
            SpoolStep::Waiting => break,
            SpoolStep::End => {
                *early = None;
                break;
            }
        }
        if probe.byte_len() >= FILL_BYTES {
            break;
        }
    }
    Ok(Turn::Again)
}

/// Sends probe rows of one width where they belong.
pub(super) fn take_probe_rows<'a>(
    pass: &mut Pass,
    probe: &mut Probe,
    width: usize,
    rows: impl ExactSizeIterator<Item = &'a [u8]>,
    mixed: &[u64],
) -> Result<()> {
    if pass.is_resident() {
        probe.extend(width, rows, mixed);
        return Ok(());
    }
    for (row, &mixed) in rows.zip(mixed) {
        if pass.route(mixed, row)? {
            probe.push(row, mixed);
        }
    }
    Ok(())
}

/// Takes rows of a spilled run. `Done` at the end of the run, with or without rows to probe.
pub(super) fn from_run(
    env: &Env,
    pass: &mut Pass,
    probe: &mut Probe,
    reader: &mut RunReader,
    mixed: &mut Vec<u64>,
) -> Result<Turn> {
    let form = env.stored(pass.build.other());
    if let Some(width) = form.width().filter(|&width| width > 0) {
        return Ok(match reader.advance_block()? {
            Step::Row => {
                let rows = || reader.row().chunks_exact(width);
                mixed.clear();
                mixed.extend(rows().map(|row| env.mixed(form.key(row), pass.level)));
                take_probe_rows(pass, probe, width, rows(), mixed)?;
                Turn::Again
            }
            Step::Waiting => Turn::Waiting,
            Step::End => Turn::Done,
        });
    }
    for _ in 0..ROWS {
        match reader.advance()? {
            Step::Row => {
                let row = reader.row();
                let mixed = env.mixed(form.key(row), pass.level);
                if pass.route(mixed, row)? {
                    probe.push(row, mixed);
                }
            }
            Step::Waiting if probe.is_done() => return Ok(Turn::Waiting),
            Step::Waiting => break,
            Step::End => return Ok(Turn::Done),
        }
        if probe.byte_len() >= FILL_BYTES {
            break;
        }
    }
    Ok(Turn::Again)
}
