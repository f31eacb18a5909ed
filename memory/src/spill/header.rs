use crate::{KeyWidth, RowShape};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"FLVSPILL";
const VERSION: u32 = 1;
/// Magic, version, length of the rest.
const FIXED: usize = 16;

/// What a spill file says of itself.
///
/// Bytes: magic `FLVSPILL`, version `u32`, length of the rest `u32`; then operator and schema, each a `u32` length and
/// UTF-8; key width `u64` (all ones where keys vary); row width `u64` (all ones where rows vary); XXH3 of all before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillHeader {
    /// Name of the operator that wrote the rows.
    pub operator: String,
    /// Schema of the rows, as their codec describes it.
    pub schema: String,
    /// The rows' shape.
    pub shape: RowShape,
}

impl SpillHeader {
    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        for text in [&self.operator, &self.schema] {
            rest.extend((text.len() as u32).to_le_bytes());
            rest.extend(text.as_bytes());
        }
        let key = match self.shape.key {
            KeyWidth::Fixed(width) => width as u64,
            KeyWidth::Variable => u64::MAX,
        };
        rest.extend(key.to_le_bytes());
        rest.extend(self.shape.row.map_or(u64::MAX, |width| width as u64).to_le_bytes());
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((rest.len() as u32 + 8).to_le_bytes());
        bytes.extend(rest);
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a header at the front of `bytes`; gives it and its length, or what is wrong.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), String> {
        let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if bytes.get(..8) != Some(MAGIC) {
            return Err("not a spill file: its magic number is missing".into());
        }
        match word(8) {
            Some(VERSION) => {}
            version => return Err(format!("expected format version {VERSION}, found {version:?}")),
        }
        let length = FIXED + word(12).ok_or("the header is cut off")? as usize;
        let body = bytes.get(..length).filter(|b| b.len() >= FIXED + 8).ok_or("the header is cut off")?;
        let (body, sum) = body.split_at(length - 8);
        if xxh3_64(body).to_le_bytes() != sum {
            return Err("the header's checksum does not match".into());
        }
        let mut rest = &body[FIXED..];
        let operator = text(&mut rest).ok_or("the operator's name is cut off")?;
        let schema = text(&mut rest).ok_or("the schema is cut off")?;
        let mut width = || {
            let (width, left) = rest.split_first_chunk::<8>()?;
            rest = left;
            Some(u64::from_le_bytes(*width))
        };
        let (key, row) = width().zip(width()).ok_or("the shape is cut off")?;
        let key = if key == u64::MAX { KeyWidth::Variable } else { KeyWidth::Fixed(key as usize) };
        let shape = RowShape { key, row: (row != u64::MAX).then_some(row as usize) };
        Ok((Self { operator, schema, shape }, length))
    }
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roundtrip_and_every_damage_is_an_error() {
        for shape in [RowShape::VARIABLE, RowShape::fixed(8, 3), RowShape { key: KeyWidth::Fixed(16), row: None }] {
            let header = SpillHeader { operator: "sort".into(), schema: "l_orderkey: Int64".into(), shape };
            let bytes = header.encode();
            assert_eq!(SpillHeader::decode(&bytes), Ok((header, bytes.len())));
            for at in 0..bytes.len() {
                assert!(SpillHeader::decode(&bytes[..at]).is_err());
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x10;
                assert!(SpillHeader::decode(&damaged).is_err());
            }
        }
    }
}
