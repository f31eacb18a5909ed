//! Sections of snapshots: the entries of one state and key group, or of one state of an instance, as bytes.
//!
//! An entry is the key's length (4 bytes, little-endian), the key, the value's length (4 bytes), the value by its codec. In
//! sections of changes, which state on disk is stored in, a length of [`REMOVED`] stands for a key that has been removed.

use crate::checkpoint::SectionKind;
use crate::codec::RecordCodec;
use crate::stream::Data;
use crate::{Error, Result, SectionSink, StateSection};
use fluvial_memory::Schema;
use fluvial_memory::hash::{KEY_GROUPS, hash_bytes, key_group};
use std::borrow::Borrow;
use std::collections::HashMap;

/// The value's length of a key that has been removed. No value follows.
pub(crate) const REMOVED: u32 = u32::MAX;

/// One section of the given entries, of a key group or, with empty keys, of an instance.
pub(crate) fn encode<V: Data>(
    name: &str,
    key_group: impl Into<Option<u16>>,
    codec: &RecordCodec<V>,
    entries: impl Iterator<Item = (impl AsRef<[u8]>, impl Borrow<V>)>,
) -> Result<StateSection> {
    let mut bytes = Vec::new();
    for (key, value) in entries {
        append(codec, key.as_ref(), value.borrow(), &mut bytes)?;
    }
    let keys = codec.keys().as_str().to_owned();
    Ok(StateSection { name: name.to_owned(), key_group: key_group.into(), schema: schema(codec), keys, bytes, stored: None })
}

/// Sections of entries of any key groups, one a group. `keys` are those of the entries, in the same order: they are gone through
/// first, so that each section has its room from the beginning.
pub(crate) fn encode_groups<'a, V: Data>(
    name: &str,
    codec: &RecordCodec<V>,
    keys: impl Iterator<Item = &'a [u8]>,
    entries: impl Iterator<Item = (&'a [u8], V)>,
    sink: &mut SectionSink<'_>,
) -> Result<()> {
    let mut sizes = vec![0; usize::from(KEY_GROUPS)];
    let fixed = 8 + codec.width().unwrap_or(0);
    let groups = keys.map(|key| {
        let group = key_group(hash_bytes(key));
        sizes[usize::from(group)] += fixed + key.len();
        group as u8
    });
    let groups: Vec<u8> = groups.collect();
    let mut sections: Vec<Vec<u8>> = sizes.into_iter().map(Vec::with_capacity).collect();
    for ((key, value), group) in entries.zip(groups) {
        append(codec, key, &value, &mut sections[usize::from(group)])?;
    }
    let schema = schema(codec);
    for (group, bytes) in (0..KEY_GROUPS).zip(sections).filter(|(_, bytes)| !bytes.is_empty()) {
        let (name, schema, keys) = (name.to_owned(), schema.clone(), codec.keys().as_str().to_owned());
        sink(StateSection { name, key_group: Some(group), schema, keys, bytes, stored: None })?;
    }
    Ok(())
}

/// Key groups are counted in a byte.
const _: () = assert!(KEY_GROUPS <= 256);

/// Appends the entry of a key that has been removed.
pub(crate) fn append_removed(key: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend((key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend(REMOVED.to_le_bytes());
}

/// Appends an entry.
#[inline]
pub(crate) fn append<V: Data>(codec: &RecordCodec<V>, key: &[u8], value: &V, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.extend((key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(key);
    let at = bytes.len();
    bytes.extend([0; 4]);
    codec.encode(value, bytes)?;
    let len = (bytes.len() - at - 4) as u32;
    bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// A codec's schema as it is stored.
pub(crate) fn schema<V: Data>(codec: &RecordCodec<V>) -> String {
    codec.schema().map(Schema::to_json).unwrap_or_default()
}

/// Of a section whose name no state of the operator has.
///
/// # Errors
/// The section holds something, which would be lost.
pub(crate) fn unclaimed(section: &StateSection) -> Result<()> {
    if section.bytes.is_empty() {
        return Ok(());
    }
    let of = section.key_group.map_or_else(|| "of an instance".to_owned(), |group| format!("of key group {group}"));
    Err(Error::Plan(format!(
        "state `{}` was stored ({} bytes {of}), but the operator now has no state of this name",
        section.name,
        section.bytes.len()
    )))
}

/// An entry at the front of some bytes.
pub(crate) struct RawEntry<'a> {
    pub(crate) key: &'a [u8],
    /// `None` for a key that has been removed.
    pub(crate) value: Option<&'a [u8]>,
    /// Its bytes, lengths included.
    pub(crate) bytes: &'a [u8],
}

impl<'a> RawEntry<'a> {
    /// The entry at the front; `None` where the bytes end within it.
    #[inline]
    pub(crate) fn first(bytes: &'a [u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len);
        let (value, rest) = if len == REMOVED {
            (None, rest)
        } else {
            rest.split_at_checked(len as usize).map(|(value, rest)| (Some(value), rest))?
        };
        Some(Self { key, value, bytes: &bytes[..bytes.len() - rest.len()] })
    }

    /// How many bytes the entry at the front has, as far as it can be seen from these: no more than that, but more than these if
    /// they end within it.
    #[inline]
    pub(crate) fn needed(bytes: &[u8]) -> usize {
        let Some((len, rest)) = bytes.split_first_chunk::<4>() else { return 8 };
        let key = u32::from_le_bytes(*len) as usize;
        match rest.get(key..).and_then(<[u8]>::first_chunk::<4>).map(|len| u32::from_le_bytes(*len)) {
            None => 8 + key,
            Some(REMOVED) => 8 + key,
            Some(value) => 8 + key + value as usize,
        }
    }
}

/// The sections of one state as whole ones: of each key group its parts, or what its changes come to. Peak memory: the sections that
/// it is given.
///
/// # Errors
/// Changes that are no entries; named by the state.
pub(crate) fn resolve(mut sections: Vec<(u64, SectionKind, StateSection)>) -> Result<Vec<StateSection>> {
    sections.sort_by_key(|(sequence, _, section)| (section.key_group, *sequence));
    let mut whole = Vec::new();
    let mut rest = sections.into_iter().peekable();
    while let Some((_, kind, first)) = rest.next() {
        let mut group = vec![(kind, first)];
        while let Some((_, kind, next)) = rest.next_if(|(_, _, next)| next.key_group == group[0].1.key_group) {
            group.push((kind, next));
        }
        if group.iter().all(|(kind, _)| *kind != SectionKind::Changes) {
            whole.extend(group.into_iter().map(|(_, section)| section));
        } else {
            whole.extend(resolve_group(group.into_iter().map(|(_, section)| section).collect())?);
        }
    }
    Ok(whole)
}

/// What the changes of a key group come to: a section for each schema that values were stored with.
fn resolve_group(sections: Vec<StateSection>) -> Result<Vec<StateSection>> {
    // The last entry of each key: the number of its section, and where it lies there.
    let mut last: HashMap<&[u8], (usize, std::ops::Range<usize>)> = HashMap::new();
    for (number, section) in sections.iter().enumerate() {
        let mut at = 0;
        while at < section.bytes.len() {
            let entry = RawEntry::first(&section.bytes[at..]).ok_or_else(|| cut_off(&section.name, at))?;
            let range = at..at + entry.bytes.len();
            at = range.end;
            match entry.value {
                Some(_) => last.insert(entry.key, (number, range)),
                None => last.remove(entry.key),
            };
        }
    }
    let mut places: Vec<_> = last.into_values().collect();
    places.sort_unstable_by_key(|(number, range)| (*number, range.start));
    let mut whole: Vec<StateSection> = Vec::new();
    for (number, range) in places {
        let section = &sections[number];
        match whole.iter_mut().find(|whole| whole.schema == section.schema && whole.keys == section.keys) {
            Some(whole) => whole.bytes.extend_from_slice(&section.bytes[range]),
            None => whole.push(StateSection {
                name: section.name.clone(),
                key_group: section.key_group,
                schema: section.schema.clone(),
                keys: section.keys.clone(),
                bytes: section.bytes[range].to_vec(),
                stored: None,
            }),
        }
    }
    Ok(whole)
}

/// Of a key that an instance does not own.
pub(crate) fn check_group(state: &str, hash: u64, groups: &std::ops::Range<u16>) -> Result<()> {
    let group = key_group(hash);
    if groups.contains(&group) {
        return Ok(());
    }
    Err(Error::Plan(format!("state `{state}`: a key of group {group} came to an instance that has groups {groups:?}")))
}

pub(crate) fn cut_off(state: &str, at: usize) -> Error {
    Error::Plan(format!("state `{state}`: the entry at byte {at} of its section is cut off"))
}

/// Hands each entry of a section to `each`. The values may have been stored by an earlier state of their type.
///
/// # Errors
/// A schema that cannot be read as the codec's, which is found before the first entry; bytes that are not entries. All name the
/// state.
pub(crate) fn decode<V: Data>(
    section: &StateSection,
    codec: &RecordCodec<V>,
    mut each: impl FnMut(&[u8], V) -> Result<()>,
) -> Result<()> {
    let values = codec.reading(section)?;
    for entry in entries(section) {
        let (key, value) = entry?;
        each(key, values.decode(value)?)?;
    }
    Ok(())
}

/// The entries of a section: keys and encoded values, for whoever has no types for them. Nothing follows an error.
pub(crate) fn entries(section: &StateSection) -> Entries<'_> {
    Entries { name: &section.name, len: section.bytes.len(), rest: &section.bytes }
}

/// See [`entries`].
pub(crate) struct Entries<'a> {
    name: &'a str,
    len: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.len - self.rest.len();
        match part(&mut self.rest).zip(part(&mut self.rest)) {
            Some(entry) => Some(Ok(entry)),
            None => {
                self.rest = &[];
                Some(Err(cut_off(self.name, at)))
            }
        }
    }
}

/// A length and as many bytes.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = after;
    Some(part)
}
