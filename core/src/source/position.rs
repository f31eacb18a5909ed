//! Positions of sources as sections of state. They belong to instances, not to key groups: at a restore every instance
//! is given those of all former ones and takes what is its own now.

use crate::codec::RecordCodec;
use crate::{Restored, Result, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The section's name.
const NAME: &str = "position";

/// A snapshot that consists of a position.
pub(crate) fn save<P: Serialize + DeserializeOwned>(position: &P) -> Result<Snapshot> {
    let section = RecordCodec::<P>::new().section(NAME, position)?;
    Ok(Snapshot { sections: vec![section], ..Snapshot::default() })
}

/// The positions of all former instances.
///
/// # Errors
/// [`Error::Plan`](crate::Error::Plan) if they are of another kind of source.
pub(crate) fn load<P: Serialize + DeserializeOwned>(state: &Restored) -> Result<Vec<P>> {
    let codec = RecordCodec::<P>::new();
    state.sections.iter().filter(|s| s.name == NAME).map(|section| codec.from_section(section)).collect()
}
