//! State backends of tests: operators under test, and what they are made of, keep their state where the test has said.

use crate::StateBackend;
use crate::state::disk::loaded;
use crate::state::section::resolve;
use crate::state::{Backend, StateScope};
use crate::{Result, StateSection};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

thread_local! {
    static BACKEND: RefCell<Backend> = RefCell::default();
}

/// State on disk of which next to nothing is held in memory.
pub(crate) const TINY: StateBackend = StateBackend::Disk { memory: 64 << 10, folder: None };

/// State on disk that is all in memory until it is stored.
pub(crate) const AMPLE: StateBackend = StateBackend::Disk { memory: 16 << 20, folder: None };

/// The backend of this thread's test.
pub(crate) fn backend() -> Backend {
    BACKEND.with(|backend| backend.borrow().clone())
}

/// Runs a part of a test whose operators keep their state there.
pub(crate) fn with_backend<R>(backend: &StateBackend, f: impl FnOnce() -> R) -> R {
    let backend = backend.start(None, &std::env::temp_dir()).unwrap_or_else(|error| panic!("no state backend: {error}"));
    let before = BACKEND.replace(backend);
    let result = f();
    BACKEND.replace(before);
    result
}

/// Where an instance that owns these key groups keeps its state.
pub(crate) fn scope(groups: Range<u16>) -> StateScope {
    StateScope { groups, node: 0, worker: 0, backend: backend() }
}

/// Sections as a backend in memory gets them: as whole ones.
pub(crate) fn whole(sections: Vec<StateSection>) -> Result<Vec<StateSection>> {
    let mut states: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for section in sections {
        states.entry(section.name.clone()).or_default().push(loaded(section)?);
    }
    let states = states.into_values().map(resolve).collect::<Result<Vec<_>>>()?;
    Ok(states.into_iter().flatten().collect())
}
