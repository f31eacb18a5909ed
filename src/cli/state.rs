//! `fluvial state`: what is in a checkpoint.

use super::args::State;
use super::checkpoints::{json, show};
use super::output;
use fluvial_core::{Env, Error, Result, StoredState, format_bytes};
use fluvial_memory::Schema;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Lists the states of a checkpoint.
pub fn run(args: &State) -> Result<()> {
    let stored = StoredState::open(&args.checkpoint)?;
    if let Some(state) = &args.state {
        return export(&stored, state, args);
    }
    let info = stored.info();
    if args.json {
        return output::print(format_args!("{}\n", json(&info)));
    }
    let rows = info.operators.iter().flat_map(|operator| {
        operator.states.iter().map(move |state| {
            [
                operator.name.clone(),
                operator.uid.clone(),
                state.name.clone(),
                state.sections.to_string(),
                format_bytes(state.bytes),
                Schema::from_json(&state.schema).map_or_else(|_| state.schema.clone(), |schema| schema.to_string()),
            ]
        })
    });
    show(&["operator", "uid", "state", "sections", "size", "schema"], rows.collect())
}

/// Writes the entries of a state.
fn export(stored: &StoredState, state: &str, args: &State) -> Result<()> {
    let of = (args.operator.as_deref(), args.key.as_deref());
    if args.out == "-" {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut heard = true;
        stored.values(of.0, state, of.1, |entry| {
            heard = heard && output::written(writeln!(out, "{}", json(&entry)))?;
            Ok(())
        })?;
        return output::written(out.flush()).map(drop);
    }
    let path = Path::new(&args.out);
    let failed = |error: io::Error| Error::File { path: path.to_owned(), message: error.to_string() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // It has its name when all of it is there.
    let file = tempfile::Builder::new().prefix(".state").suffix(".jsonl").tempfile_in(folder).map_err(failed)?;
    let mut lines = BufWriter::new(&file);
    let mut entries = 0u64;
    stored.values(of.0, state, of.1, |entry| {
        entries += 1;
        writeln!(lines, "{}", json(&entry)).map_err(failed)
    })?;
    lines.flush().map_err(failed)?;
    drop(lines);
    if path.extension().is_none_or(|extension| extension != "parquet") {
        return file.persist(path).map(drop).map_err(|e| failed(e.error));
    }
    if entries == 0 {
        return Err(Error::Plan(format!("state `{state}` has no such entries: there are no columns to write")));
    }
    let env = Env::default();
    env.read(&[file.path().display().to_string()])?.write(path)?;
    env.execute("state").map(drop)
}
