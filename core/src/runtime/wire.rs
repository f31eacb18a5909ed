//! A batch as bytes, for another process: an envelope of position, event times and changes, then the records, by the
//! edge's codec or, for serialized rows, as they are.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | flags: 1 position, 2 event times, 4 changes, 8 rows |
//! | 17 | position: range, sequence, last (if flagged) |
//! | 4 + n x 8 | event times, their number before them (if flagged) |
//! | 4 + n | changes, their number before them (if flagged) |
//! | rest | the codec's bytes, or: key width + 1 (0: variable), row width + 1 (0: variable), rows, offsets, bytes |

use super::plan::BatchCodec;
use crate::{Batch, Change, Error, Position, Records, Result};
use fluvial_memory::{KeyWidth, RowBatch, RowShape};

const POSITION: u8 = 1;
const EVENT_TIMES: u8 = 2;
const CHANGES: u8 = 4;
const ROWS: u8 = 8;

pub(super) fn encode(batch: &Batch, codec: Option<&dyn BatchCodec>) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(64 + batch.byte_len() + batch.len() * 4);
    encode_batch(batch, codec, &mut out)?;
    Ok(out)
}

/// Appends a batch to `out`.
pub(crate) fn encode_batch(batch: &Batch, codec: Option<&dyn BatchCodec>, out: &mut Vec<u8>) -> Result<()> {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let rows = if let Records::Rows(rows) = &batch.records { Some(rows) } else { None };
    out.push(
        flag(batch.position.is_some(), POSITION)
            | flag(batch.event_times.is_some(), EVENT_TIMES)
            | flag(batch.changes.is_some(), CHANGES)
            | flag(rows.is_some(), ROWS),
    );
    if let Some(position) = batch.position {
        out.extend_from_slice(&position.range.to_le_bytes());
        out.extend_from_slice(&position.sequence.to_le_bytes());
        out.push(u8::from(position.last));
    }
    if let Some(times) = &batch.event_times {
        out.extend_from_slice(&(times.len() as u32).to_le_bytes());
        times.iter().for_each(|t| out.extend_from_slice(&t.to_le_bytes()));
    }
    if let Some(changes) = &batch.changes {
        out.extend_from_slice(&(changes.len() as u32).to_le_bytes());
        out.extend(changes.iter().map(|c| *c as u8));
    }
    match (rows, codec) {
        (Some(rows), _) => encode_rows(rows, out),
        (None, Some(codec)) => codec.encode(batch, out)?,
        (None, None) => return Err(Error::Plan("an edge between processes needs a codec".into())),
    }
    Ok(())
}

/// The batch that bytes stand for.
pub(crate) fn decode_batch(bytes: &[u8], codec: Option<&dyn BatchCodec>) -> Result<Batch> {
    decode(bytes, codec)
}

pub(super) fn decode(bytes: &[u8], codec: Option<&dyn BatchCodec>) -> Result<Batch> {
    let mut reader = Reader(bytes);
    let flags = reader.byte()?;
    let position = match flags & POSITION {
        0 => None,
        _ => Some(Position { range: reader.word()?, sequence: reader.word()?, last: reader.byte()? != 0 }),
    };
    let event_times = match flags & EVENT_TIMES {
        0 => None,
        _ => {
            let count = reader.half()? as usize;
            let bytes = reader.take(count * 8)?;
            Some(bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
        }
    };
    let changes = match flags & CHANGES {
        0 => None,
        _ => {
            let count = reader.half()? as usize;
            Some(reader.take(count)?.iter().map(|b| change(*b)).collect::<Result<_>>()?)
        }
    };
    let batch = match (flags & ROWS, codec) {
        (0, Some(codec)) => codec.decode(reader.0)?,
        (0, None) => return Err(Error::Plan("an edge between processes needs a codec".into())),
        _ => Batch::rows(decode_rows(&mut reader)?),
    };
    let fits = |column: Option<usize>| column.is_none_or(|values| values == batch.len());
    if !fits(event_times.as_ref().map(Vec::len)) || !fits(changes.as_ref().map(Vec::len)) {
        return Err(damaged(format!("its event times or changes are not as many as its {} records", batch.len())));
    }
    Ok(Batch { position, event_times, changes, ..batch })
}

fn change(byte: u8) -> Result<Change> {
    Ok(match byte {
        0 => Change::Insert,
        1 => Change::UpdateBefore,
        2 => Change::UpdateAfter,
        3 => Change::Delete,
        other => return Err(damaged(format!("a change is 0 to 3, got {other}"))),
    })
}

fn encode_rows(rows: &RowBatch, out: &mut Vec<u8>) {
    let shape = rows.shape();
    let key = if let KeyWidth::Fixed(n) = shape.key { n as u32 + 1 } else { 0 };
    let (bytes, offsets) = rows.parts();
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(&shape.row.map_or(0, |n| n as u32 + 1).to_le_bytes());
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    offsets[1..].iter().for_each(|o| out.extend_from_slice(&o.to_le_bytes()));
    out.extend_from_slice(bytes);
}

fn decode_rows(reader: &mut Reader<'_>) -> Result<RowBatch> {
    let key = reader.half()? as usize;
    let row = reader.half()? as usize;
    let key = if key == 0 { KeyWidth::Variable } else { KeyWidth::Fixed(key - 1) };
    let mut batch = RowBatch::new(RowShape { key, row: row.checked_sub(1) });
    let count = reader.half()? as usize;
    let ends = reader.take(count * 4)?.as_chunks::<4>().0;
    let (bytes, offsets) = batch.parts_mut();
    offsets.extend(ends.iter().map(|b| u32::from_le_bytes(*b)));
    bytes.extend_from_slice(reader.0);
    let sound = offsets.is_sorted() && *offsets.last().expect("starts with 0") as usize == bytes.len();
    if sound { Ok(batch) } else { Err(damaged("the offsets of its rows do not fit its bytes".into())) }
}

fn damaged(what: String) -> Error {
    Error::Plan(format!("a batch from another process is damaged: {what}"))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (front, rest) =
            self.0.split_at_checked(n).ok_or_else(|| damaged(format!("{n} bytes expected, {} left", self.0.len())))?;
        self.0 = rest;
        Ok(front)
    }
    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }
    fn half(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }
    fn word(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_envelope_survive() {
        let mut rows = RowBatch::new(RowShape { key: KeyWidth::Fixed(2), row: None });
        rows.push(b"k1", b"payload");
        rows.push(b"k2", b"");
        let mut batch = Batch::rows(rows);
        batch.event_times = Some(vec![-5, i64::MAX]);
        batch.changes = Some(vec![Change::Delete, Change::UpdateAfter]);
        batch.position = Some(Position { range: 3, sequence: 9, last: true });
        let bytes = encode(&batch, None).unwrap();
        let back = decode(&bytes, None).unwrap();
        let Records::Rows(rows) = &back.records else { panic!("rows went in") };
        assert_eq!(rows.iter().collect::<Vec<_>>(), [b"k1payload".as_slice(), b"k2"]);
        assert_eq!((back.event_times, back.changes), (batch.event_times, batch.changes));
        assert_eq!(back.position, batch.position);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], None).is_err(), "cut at {cut}");
        }
    }
}
