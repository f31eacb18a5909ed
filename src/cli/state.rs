//! `fluvial state`: what is in a checkpoint.

use super::args::State;
use super::checkpoints::{json, show};
use super::output;
use fluvial_core::{Result, StoredState, format_bytes};
use fluvial_memory::Schema;

/// Lists the states of a checkpoint.
pub fn run(args: &State) -> Result<()> {
    let stored = StoredState::open(&args.checkpoint)?;
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
