//! The bytes of a model file: the only place that knows them.

use super::stage::{Stage, Values};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"FLVMODEL";
const VERSION: u32 = 1;
const START: usize = 24;

/// The JSON at the start.
#[derive(Serialize, Deserialize)]
struct Header<S, T> {
    schema: S,
    training: T,
    stages: Vec<StageHeader>,
}

#[derive(Serialize, Deserialize)]
struct StageHeader {
    kind: String,
    version: u32,
    parameters: serde_json::Value,
    arrays: Vec<ArrayHeader>,
}

#[derive(Serialize, Deserialize)]
struct ArrayHeader {
    name: String,
    #[serde(rename = "type")]
    kind: ArrayKind,
    length: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ArrayKind {
    F64,
    U64,
    Text,
}

fn words(values: impl Iterator<Item = [u8; 8]>) -> Vec<u8> {
    values.flatten().collect()
}

fn array_bytes(values: &Values) -> (ArrayKind, Vec<u8>) {
    match values {
        Values::Numbers(values) => (ArrayKind::F64, words(values.iter().map(|v| v.to_le_bytes()))),
        Values::Counts(values) => (ArrayKind::U64, words(values.iter().map(|v| v.to_le_bytes()))),
        Values::Texts(texts) => {
            let mut end = 0u64;
            let ends = texts.iter().map(|t| {
                end += t.len() as u64;
                end
            });
            let mut bytes = words(std::iter::once(0).chain(ends).map(u64::to_le_bytes));
            texts.iter().for_each(|t| bytes.extend_from_slice(t.as_bytes()));
            (ArrayKind::Text, bytes)
        }
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

/// The file of these stages.
pub(super) fn encode(schema: &impl Serialize, training: &impl Serialize, stages: &[Stage]) -> Result<Vec<u8>, String> {
    let (mut headers, mut arrays) = (Vec::new(), Vec::new());
    for stage in stages {
        let mut array_headers = Vec::new();
        for (name, values) in stage.arrays() {
            let (kind, bytes) = array_bytes(values);
            let (length, size) = (values.len() as u64, bytes.len() as u64);
            array_headers.push(ArrayHeader { name: name.clone(), kind, length, bytes: size });
            arrays.extend_from_slice(&bytes);
            pad(&mut arrays);
        }
        let parameters = serde_json::from_str(stage.json()).map_err(|e| e.to_string())?;
        headers.push(StageHeader { kind: stage.kind.clone(), version: stage.version, parameters, arrays: array_headers });
    }
    let header = serde_json::to_vec(&Header { schema, training, stages: headers }).map_err(|e| e.to_string())?;
    let mut file = Vec::with_capacity(START + header.len() + arrays.len() + 16);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&(header.len() as u64).to_le_bytes());
    file.extend_from_slice(&header);
    pad(&mut file);
    file.extend_from_slice(&arrays);
    let checksum = xxh3_64(&file);
    file.extend_from_slice(&checksum.to_le_bytes());
    Ok(file)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Schema, training and stages of a file; what is wrong with it otherwise.
pub(super) fn decode<S, T>(file: &[u8]) -> Result<(S, T, Vec<Stage>), String>
where
    S: for<'a> Deserialize<'a>,
    T: for<'a> Deserialize<'a>,
{
    if file.get(..8) != Some(MAGIC.as_slice()) {
        return Err("no model file: it does not begin with FLVMODEL".into());
    }
    let version = file.get(8..12).and_then(|v| v.try_into().ok()).map(u32::from_le_bytes);
    if version != Some(VERSION) {
        return Err(format!("model file of version {}, expected {VERSION}", version.unwrap_or_default()));
    }
    let cut_off = |at: usize| format!("cut off: {} bytes, but something is to be at byte {at}", file.len());
    let header_length = word(file, 16).and_then(|l| usize::try_from(l).ok()).ok_or_else(|| cut_off(START))?;
    let header_end = START.checked_add(header_length).filter(|end| *end + 8 <= file.len()).ok_or_else(|| cut_off(START + 8))?;
    let body_end = file.len() - 8;
    let (expected, found) = (word(file, body_end).unwrap_or_default(), xxh3_64(&file[..body_end]));
    if expected != found {
        return Err(format!(
            "altered or cut off: the checksum at byte {body_end} is {expected:016x}, the content has {found:016x}"
        ));
    }
    let header: Header<S, T> = serde_json::from_slice(&file[START..header_end]).map_err(|e| format!("header: {e}"))?;
    let mut at = header_end.next_multiple_of(8);
    let mut stages = Vec::new();
    for stage in header.stages {
        let mut arrays = Vec::new();
        for array in stage.arrays {
            let size = usize::try_from(array.bytes).map_err(|e| e.to_string())?;
            let bytes = at.checked_add(size).filter(|end| *end <= body_end).map(|end| &file[at..end]);
            let bytes = bytes.ok_or_else(|| cut_off(at.saturating_add(size)))?;
            let values = array_values(array.kind, array.length, bytes).ok_or_else(|| {
                format!("array `{}` of stage `{}` at byte {at}: not what the header says", array.name, stage.kind)
            })?;
            arrays.push((array.name, values));
            at = (at + size).next_multiple_of(8);
        }
        stages.push(Stage::from_parts(stage.kind, stage.version, stage.parameters.to_string(), arrays));
    }
    Ok((header.schema, header.training, stages))
}

fn array_values(kind: ArrayKind, length: u64, bytes: &[u8]) -> Option<Values> {
    let length = usize::try_from(length).ok()?;
    let plain = |bytes: &[u8]| Some(bytes.as_chunks::<8>().0.to_vec()).filter(|w| w.len() == length && bytes.len() == length * 8);
    Some(match kind {
        ArrayKind::F64 => Values::Numbers(plain(bytes)?.into_iter().map(f64::from_le_bytes).collect()),
        ArrayKind::U64 => Values::Counts(plain(bytes)?.into_iter().map(u64::from_le_bytes).collect()),
        ArrayKind::Text => {
            let (offsets, texts) = bytes.split_at_checked(length.checked_add(1)?.checked_mul(8)?)?;
            let offsets: Vec<u64> = offsets.as_chunks::<8>().0.iter().map(|w| u64::from_le_bytes(*w)).collect();
            if offsets.first() != Some(&0) || offsets.last().copied() != Some(texts.len() as u64) {
                return None;
            }
            let text = |ends: &[u64]| {
                let range = usize::try_from(ends[0]).ok()?..usize::try_from(ends[1]).ok()?;
                Some(std::str::from_utf8(texts.get(range)?).ok()?.to_owned())
            };
            Values::Texts(offsets.windows(2).map(text).collect::<Option<_>>()?)
        }
    })
}
