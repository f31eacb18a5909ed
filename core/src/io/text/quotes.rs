//! Where records of a CSV file start, when quoted fields may contain newlines.
//!
//! After a newline a reader is in one of two states: between records, or inside a quoted field. Which one depends on
//! everything before. So each piece of the file is scanned for *both* (speculative parsing, after Mytkowicz et al.,
//! "Data-parallel finite-state machines", ASPLOS 2014): where it ends up if it began between records, and where it ends
//! up and where its first record starts if it began inside quotes. The pieces are scanned in parallel and chained in
//! order. The scan hops from quote to quote, so a file with few quotes is passed at the speed of memory.

use super::super::file_error;
use super::super::format::CsvOptions;
use super::super::parquet::in_parallel;
use crate::Result;
use memchr::{memchr, memchr2};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes scanned at a time.
const PIECE: u64 = 1 << 20;

/// What a piece of the file does to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Its first byte, after a newline.
    start: u64,
    /// Begun between records: ends inside quotes.
    plain_ends_quoted: bool,
    /// Begun inside quotes: ends inside quotes.
    quoted_ends_quoted: bool,
    /// Begun inside quotes: the first record starts here.
    quoted_first: Option<u64>,
}

/// Cuts `range` of a file, which begins with a record, into ranges of at least `wanted` bytes (but for the last) that begin
/// with records.
pub(super) fn record_ranges(path: &Path, range: Range<u64>, csv: &CsvOptions, wanted: u64) -> Result<Vec<Range<u64>>> {
    if range.end - range.start <= wanted {
        return Ok(vec![range]);
    }
    let file = File::open(path).map_err(|e| file_error(path, e))?;
    let nominal: Vec<u64> = (range.start..range.end).step_by(PIECE as usize).collect();
    let scan = |from: &u64| piece(&file, *from, range.clone(), csv).map_err(|e| file_error(path, e));
    let pieces = in_parallel(&nominal, scan)?;
    let (mut ranges, mut last, mut quoted) = (Vec::new(), range.start, false);
    for piece in pieces.into_iter().flatten() {
        let start = if quoted { piece.quoted_first } else { Some(piece.start) };
        if let Some(start) = start.filter(|s| *s >= last + wanted && *s < range.end) {
            ranges.push(last..start);
            last = start;
        }
        quoted = if quoted { piece.quoted_ends_quoted } else { piece.plain_ends_quoted };
    }
    ranges.push(last..range.end);
    Ok(ranges)
}

/// Scans from the first line at `from` or later to the first line of the next piece; `None` if no line starts there.
fn piece(file: &File, from: u64, range: Range<u64>, csv: &CsvOptions) -> std::io::Result<Option<Piece>> {
    let start = if from == range.start { from } else { line_start(file, from, range.end)? };
    let next = from + PIECE;
    let end = if next >= range.end { range.end } else { line_start(file, next, range.end)? };
    if start >= end {
        return Ok(None);
    }
    let mut bytes = vec![0; (end - start) as usize];
    file.read_exact_at(&mut bytes, start)?;
    let (plain_ends_quoted, _) = walk(&bytes, false, csv);
    let (quoted_ends_quoted, first) = walk(&bytes, true, csv);
    Ok(Some(Piece { start, plain_ends_quoted, quoted_ends_quoted, quoted_first: first.map(|f| start + f as u64) }))
}

/// First position at `from` or later that follows a newline, or `end`.
fn line_start(file: &File, from: u64, end: u64) -> std::io::Result<u64> {
    let mut buffer = vec![0; 4096];
    let mut at = from - 1;
    while at < end {
        let wanted = buffer.len().min((end - at) as usize);
        let read = file.read_at(&mut buffer[..wanted], at)?;
        match memchr(b'\n', &buffer[..read]) {
            Some(newline) => return Ok(at + newline as u64 + 1),
            None if read == 0 => break,
            None => at += read as u64,
        }
        buffer.resize(64 << 10, 0);
    }
    Ok(end)
}

/// Reads bytes that follow a newline, begun inside quotes or not. Returns whether they end inside quotes, and where the
/// first record starts that was not begun before.
fn walk(bytes: &[u8], mut quoted: bool, csv: &CsvOptions) -> (bool, Option<usize>) {
    let (mut at, mut first) = (0, (!quoted).then_some(0));
    loop {
        if quoted {
            let found = match csv.escape {
                Some(escape) => memchr2(csv.quote, escape, &bytes[at..]),
                None => memchr(csv.quote, &bytes[at..]),
            };
            let Some(found) = found.map(|f| at + f) else { return (true, first) };
            // An escape and a doubled quote both take the next byte with them.
            let doubled = bytes.get(found + 1) == Some(&csv.quote);
            if doubled || bytes[found] != csv.quote {
                at = (found + 2).min(bytes.len());
            } else {
                quoted = false;
                at = found + 1;
            }
        } else {
            let found = memchr(csv.quote, &bytes[at..]).map(|f| at + f);
            if first.is_none() {
                first = memchr(b'\n', &bytes[at..found.unwrap_or(bytes.len())]).map(|n| at + n + 1).filter(|n| *n < bytes.len());
            }
            let Some(found) = found else { return (false, first) };
            // A quote opens a field only at its start; elsewhere it is an ordinary byte.
            quoted = found == 0 || [csv.delimiter, b'\n', b'\r'].contains(&bytes[found - 1]);
            at = found + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Record starts by the csv crate's own reading.
    fn starts(bytes: &[u8], csv: &CsvOptions) -> Vec<u64> {
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).escape(csv.escape).from_reader(bytes);
        let mut record = ::csv::ByteRecord::new();
        let mut starts = Vec::new();
        while reader.read_byte_record(&mut record).unwrap() {
            // The parser counts empty lines before a record to the record.
            let position = record.position().unwrap().byte() as usize;
            starts.push((position..).find(|at| bytes[*at] != b'\n').unwrap() as u64);
        }
        starts
    }

    proptest! {
        #[test]
        fn walks_agree_with_the_parser(
            text in prop::collection::vec(prop::sample::select(b"a,\"\"\n\n\\ ".to_vec()), 0..60),
            cut in any::<prop::sample::Index>(),
            escape in any::<bool>(),
        ) {
            let csv = CsvOptions { escape: escape.then_some(b'\\'), ..CsvOptions::default() };
            let mut text = text;
            text.push(b'\n');
            let newlines: Vec<usize> = memchr::memchr_iter(b'\n', &text).collect();
            let cut = newlines[cut.index(newlines.len())] + 1;
            let (quoted, _) = walk(&text[..cut], false, &csv);
            let (_, first) = walk(&text[cut..], quoted, &csv);
            // The first record after the cut; empty lines are not records, so the parser may begin later.
            let parsed: Vec<u64> = starts(&text, &csv);
            let parsed = parsed.into_iter().find(|s| *s >= cut as u64);
            match first {
                None => prop_assert_eq!(parsed, None),
                Some(first) => {
                    let between = &text[cut + first..parsed.map_or(text.len(), |p| p as usize)];
                    prop_assert!(between.iter().all(|b| *b == b'\n'), "{:?} {} {:?}", text, cut, first);
                }
            }
        }
    }

    #[test]
    fn ranges_begin_with_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let csv = CsvOptions::default();
        let mut text = Vec::new();
        for i in 0..60_000 {
            match i % 3 {
                0 => text.extend_from_slice(format!("{i},\"some\n\"\"quoted\"\"\n,text\",1\n").as_bytes()),
                1 => text.extend_from_slice(format!("{i},\"\n\n\",2\n").as_bytes()),
                _ => text.extend_from_slice(format!("{i},5\" pipe,3\n").as_bytes()),
            }
        }
        // One field that spans several pieces.
        text.extend_from_slice(b"1,\"");
        text.extend(std::iter::repeat_n(b"x,\"\"y\n", 500_000).flatten());
        text.extend_from_slice(b"\",9\n5,6,7\n");
        std::fs::write(&path, &text).unwrap();
        let records = starts(&text, &csv);
        let ranges = record_ranges(&path, 0..text.len() as u64, &csv, PIECE / 2).unwrap();
        assert!(ranges.len() >= 2, "{}", ranges.len());
        assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, text.len() as u64));
        for range in &ranges {
            assert!(records.binary_search(&range.start).is_ok(), "{range:?}");
        }
        assert!(ranges.windows(2).all(|w| w[0].end == w[1].start));
    }
}
