use crate::vector::{Block, Rows, SparseRows};
use crate::{Error, Result};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

/// How LIBSVM files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LibSvm {
    /// How many features there are; as many as the largest index says, where not given. Larger indices are an error then.
    pub width: Option<usize>,
}

/// Reads a LIBSVM file: a label and `index:value` pairs a line, indices from 1 and ascending; `#` begins a comment. A few hundred
/// megabytes a second.
///
/// # Errors
/// [`Error::Line`]: the file, the line, what was expected and what was found.
pub fn read_libsvm(path: impl AsRef<Path>, options: LibSvm) -> Result<Block> {
    let path = path.as_ref();
    let file =
        std::fs::File::open(path).map_err(|e| fluvial_core::Error::File { path: path.to_owned(), message: e.to_string() })?;
    parse(BufReader::with_capacity(1 << 18, file), path, options)
}

fn parse(mut input: impl BufRead, path: &Path, options: LibSvm) -> Result<Block> {
    let mut rows = SparseRows::new(options.width.unwrap_or(u32::MAX as usize));
    let (mut labels, mut widest) = (Vec::new(), 0usize);
    let (mut line, mut number) = (Vec::new(), 0);
    let (mut indices, mut values) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        number += 1;
        let wrong = |message: String| Error::Line { path: path.to_owned(), line: number, message };
        if input.read_until(b'\n', &mut line).map_err(|e| wrong(e.to_string()))? == 0 {
            break;
        }
        let content = memchr::memchr(b'#', &line).map_or(line.as_slice(), |at| &line[..at]);
        let mut fields = content.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
        let Some(label) = fields.next() else { continue };
        labels.push(float(label).ok_or_else(|| wrong(format!("label `{}`, expected a number", text(label))))?);
        indices.clear();
        values.clear();
        for field in fields {
            let pair = memchr::memchr(b':', field).map(|at| (&field[..at], &field[at + 1..]));
            let (index, value) = pair
                .and_then(|(index, value)| Some((whole(index)?, float(value)?)))
                .ok_or_else(|| wrong(format!("`{}`, expected index:value", text(field))))?;
            let Some(place) = index.checked_sub(1) else { return Err(wrong("index 0, expected 1 or more".into())) };
            indices.push(place);
            values.push(value);
        }
        widest = widest.max(indices.last().map_or(0, |i| *i as usize + 1));
        rows.push(&indices, &values).map_err(|e| wrong(e.to_string()))?;
    }
    Block::new(Rows::Sparse(rows.with_width(options.width.unwrap_or(widest))), labels)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn whole(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0u32, |n, d| d.is_ascii_digit().then(|| n * 10 + u32::from(d - b'0')))
}

/// Small whole numbers without a detour; everything else by the standard library.
fn float(bytes: &[u8]) -> Option<f64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if let Some(number) = whole(digits) {
        let number = f64::from(number);
        return Some(if negative { -number } else { number });
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Writes a block as a LIBSVM file.
///
/// # Errors
/// The file cannot be written.
pub fn write_libsvm(path: impl AsRef<Path>, block: &Block) -> Result<()> {
    let path = path.as_ref();
    let write = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        for (i, row) in block.rows.iter().enumerate() {
            write!(file, "{}", block.label(i))?;
            let mut result = Ok(());
            row.for_each(|place, x| {
                if x != 0.0 && result.is_ok() {
                    result = write!(file, " {}:{x}", place + 1);
                }
            });
            result?;
            writeln!(file)?;
        }
        file.flush()
    };
    Ok(write().map_err(|e| fluvial_core::Error::File { path: path.to_owned(), message: e.to_string() })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(content: &str, width: Option<usize>) -> Result<Block> {
        parse(content.as_bytes(), Path::new("x.svm"), LibSvm { width })
    }

    #[test]
    fn labels_and_pairs_are_read() {
        let block = read("+1 1:0.5 3:-2e1 # comment\n\n-1 2:7\r\n0", None).unwrap();
        assert_eq!(block.labels, [1.0, -1.0, 0.0]);
        assert_eq!((block.rows.width(), block.rows.row(0).get(2), block.rows.row(1).get(1)), (3, -20.0, 7.0));
        assert_eq!(read("1 2:1", Some(5)).unwrap().rows.width(), 5);
    }

    #[test]
    fn errors_name_the_line() {
        for (content, expected) in [
            ("1 1:1\nx 1:1", "x.svm:2: label `x`, expected a number"),
            ("1 1:1 2", "x.svm:1: `2`, expected index:value"),
            ("1 0:1", "x.svm:1: index 0, expected 1 or more"),
            ("1 1:a", "x.svm:1: `1:a`, expected index:value"),
            ("1 2:1 2:1", "x.svm:1: the place 1 of a sparse row follows 1: places must ascend"),
        ] {
            assert_eq!(read(content, None).unwrap_err().to_string(), expected);
        }
        assert!(read("1 3:1", Some(2)).unwrap_err().to_string().contains("width 2"));
    }

    proptest! {
        #[test]
        fn nothing_panics(content in "[-+0-9.:e# \n\ta-c]{0,60}") {
            let _ = read(&content, None);
        }

        #[test]
        fn what_was_written_is_read(rows in prop::collection::vec((any::<i16>(), prop::collection::btree_map(0u32..50, -1e9..1e9f64, 0..8)), 1..20)) {
            let mut sparse = SparseRows::new(50);
            for (_, row) in &rows {
                let (indices, values): (Vec<u32>, Vec<f64>) = row.iter().unzip();
                sparse.push(&indices, &values).unwrap();
            }
            let block = Block::new(Rows::Sparse(sparse), rows.iter().map(|r| f64::from(r.0)).collect()).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.svm");
            write_libsvm(&path, &block).unwrap();
            prop_assert_eq!(read_libsvm(&path, LibSvm { width: Some(50) }).unwrap(), block);
        }
    }
}
