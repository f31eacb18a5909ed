//! Positions of sources as sections of state. They belong to instances, not to key groups: at a restore every instance
//! is given those of all former ones and takes what is its own now.

use crate::{Error, Restored, Result, Snapshot, StateSection};
use fluvial_memory::Codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The section's name.
const NAME: &str = "position";

/// A snapshot that consists of a position.
pub(super) fn save<P: Serialize + DeserializeOwned>(position: &P) -> Result<Snapshot> {
    let codec = Codec::<P>::new()?;
    let mut bytes = Vec::new();
    codec.encode(position, &mut bytes)?;
    let section = StateSection { name: NAME.into(), schema: codec.schema().to_json(), bytes, ..StateSection::default() };
    Ok(Snapshot { sections: vec![section], ..Snapshot::default() })
}

/// The positions of all former instances.
///
/// # Errors
/// [`Error::Plan`] if they are of another kind of source.
pub(super) fn load<P: Serialize + DeserializeOwned>(state: &Restored) -> Result<Vec<P>> {
    let codec = Codec::<P>::new()?;
    let schema = codec.schema().to_json();
    let decode = |section: &StateSection| {
        if section.schema != schema {
            let found = &section.schema;
            return Err(Error::Plan(format!("the restored position has the schema {found}, expected {schema}")));
        }
        Ok(codec.decode(&section.bytes)?)
    };
    state.sections.iter().filter(|s| s.name == NAME).map(decode).collect()
}
