//! Checkpoints: what of a job survives its processes.
//!
//! A barrier goes through the job ([`runtime`](crate::runtime)); every instance hands its state over; one background thread
//! a process writes what is handed over ([`writer`]) to a file of sections ([`state_file`]); when all of it is safe in all
//! processes, the first one writes the manifest ([`manifest`]). Where all of that goes is a [`place`]. At a restart the
//! manifest says what there is, and every instance reads the sections that are its own ([`restore`]). The bytes are described
//! in the README of this folder.
//!
//! Invariant: there is a checkpoint if and only if there is a manifest whose checksum is right, and then everything that it
//! names is there, with the length and checksum that it says. A file that has been named is never written again: attempts
//! that fail leave files of other names behind, which go with the next checkpoints.
//!
//! Trade-off: one file a process and checkpoint, written by one thread. It keeps the number of files and of waits for the
//! disk small, and the workers' cores free; a state of many gigabytes that changes everywhere all the time would be written
//! faster by several.

mod inspect;
mod manifest;
mod place;
mod restore;
mod retention;
mod runs;
mod settings;
mod state_file;
mod stats;
mod store;
mod writer;

pub use inspect::{CheckpointInfo, OperatorInfo, StateInfo, StateValue, StoredState};
pub(crate) use place::{Place, PlaceFile};
pub use settings::{Checkpoints, RestoreFrom};
pub(crate) use state_file::{SectionHead, SectionKind, StateFile, StateFileWriter, Stored};
pub(crate) use stats::SharedStats;
pub use stats::{CheckpointReport, CheckpointStats};
pub(crate) use store::{JobStore, NodeIdentity, Part};
