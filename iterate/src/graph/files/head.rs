//! What the beginning of a text file says of the rest.

use super::schema::{IdType, Role};
use super::{HINT, file_error};
use fluvial_core::Result;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// What some programs put at the start of a file to say that it is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes that are looked through for the first records: comments may be long.
const LOOKED_AT: u64 = 16 << 20;

/// How the records of a text file are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextHead {
    /// Where the first record is: behind comments and a header.
    pub(super) body: u64,
    /// Fields of a record.
    pub(super) fields: usize,
    /// The line of the first record, for messages.
    pub(super) line: u64,
    pub(super) ids: IdType,
}

/// A record near the beginning.
struct Record {
    start: u64,
    line: u64,
    fields: Vec<String>,
}

impl Record {
    /// Whether its ids are numbers.
    fn is_of_numbers(&self, roles: &[Role]) -> bool {
        let ids = roles.iter().zip(&self.fields).filter(|(role, _)| **role != Role::Weight);
        ids.clone().count() > 0 && ids.into_iter().all(|(_, field)| field.parse::<u64>().is_ok())
    }

    /// Whether it names columns rather than being one.
    fn is_of_names(&self, roles: &[Role]) -> bool {
        let mut ids = roles.iter().zip(&self.fields).filter(|(role, _)| **role != Role::Weight);
        ids.all(|(role, field)| role.is_called(field))
    }
}

/// Whether the first record is a header: it names the columns, or it is the only one whose ids are no numbers.
fn is_header(first: &[String], second: Option<&[String]>, roles: &[Role]) -> bool {
    let record = |fields: &[String]| Record { start: 0, line: 0, fields: fields.to_vec() };
    let first = record(first);
    first.is_of_names(roles) || !first.is_of_numbers(roles) && second.is_some_and(|s| record(s).is_of_numbers(roles))
}

/// What ids are, by the first record; where the caller says what they are, that.
fn ids_of(first: Option<&[String]>, roles: &[Role], wanted: Option<IdType>) -> IdType {
    let numbers = first.is_none_or(|fields| Record { start: 0, line: 0, fields: fields.to_vec() }.is_of_numbers(roles));
    wanted.unwrap_or(if numbers { IdType::Number } else { IdType::Text })
}

impl TextHead {
    /// Looks at the beginning of a file of lines. `None` if it has no records.
    pub(super) fn read(path: &Path, roles: &[Role], wanted: Option<IdType>) -> Result<Option<Self>> {
        let mut records = first_records(path)?.into_iter();
        let Some(mut first) = records.next() else { return Ok(None) };
        let mut second = records.next();
        if is_header(&first.fields, second.as_ref().map(|s| s.fields.as_slice()), roles) {
            match second.take() {
                Some(record) => first = record,
                None => return Ok(None),
            }
        }
        let (line, found) = (first.line, first.fields.len());
        if found < roles.len() {
            let expected = roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let hint = if found == 1 && first.fields[0].contains([',', ';']) {
                "; fields between commas are read from files that end in .csv"
            } else {
                ""
            };
            return Err(file_error(path, format!("line {line}: expected {expected}, found {found} fields{hint}")));
        }
        let ids = ids_of(Some(&first.fields), roles, wanted);
        Ok(Some(Self { body: first.start, fields: found, line, ids }))
    }
}

/// The first two or three records of a file of lines.
fn first_records(path: &Path) -> Result<Vec<Record>> {
    let file = File::open(path).map_err(|e| file_error(path, e))?;
    let mut reader = BufReader::new(file.take(LOOKED_AT));
    let (mut start, mut line, mut records) = (0, 0, Vec::new());
    let (mut bytes, mut sizes) = (Vec::new(), false);
    while records.len() < 2 {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes).map_err(|e| file_error(path, e))?;
        if read == 0 {
            break;
        }
        line += 1;
        let mut content = bytes.as_slice();
        if line == 1 {
            content = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content);
            // The first line of MatrixMarket's that is no comment holds the numbers of rows, columns and entries.
            sizes = content.starts_with(b"%%MatrixMarket");
        }
        let text = String::from_utf8_lossy(content);
        let fields: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        if !fields.is_empty() && !fields[0].starts_with(['#', '%']) {
            if sizes {
                sizes = false;
            } else {
                records.push(Record { start: start + (read - content.len()) as u64, line, fields });
            }
        }
        start += read as u64;
    }
    Ok(records)
}

/// How the records of a CSV file are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CsvHead {
    /// Whether the first record names the columns.
    pub(super) header: bool,
    /// Names of all columns: the header's, or `column_1`, `column_2`, ...
    pub(super) names: Vec<String>,
    /// Index of each role's column.
    pub(super) columns: Vec<usize>,
    pub(super) ids: IdType,
}

impl CsvHead {
    /// Looks at the beginning of a CSV file. `named` are the columns' names, if the caller says so. `None` if it is empty.
    pub(super) fn read(
        path: &Path,
        delimiter: u8,
        roles: &[Role],
        named: Option<&[String]>,
        wanted: Option<IdType>,
    ) -> Result<Option<Self>> {
        let failed = |e: csv::Error| file_error(path, e);
        let mut reader = csv::ReaderBuilder::new();
        reader.has_headers(false).flexible(true).delimiter(delimiter);
        let mut reader = reader.from_path(path).map_err(failed)?;
        let mut records = Vec::new();
        let mut record = csv::ByteRecord::new();
        while records.len() < 2 && reader.read_byte_record(&mut record).map_err(failed)? {
            records.push(record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect::<Vec<String>>());
        }
        let mut records = records.into_iter();
        let Some(first) = records.next() else { return Ok(None) };
        let second = records.next();
        let by_name = |names: &[String]| -> Option<Vec<usize>> {
            let found = roles.iter().enumerate().map(|(at, role)| match named {
                Some(wanted) => names.iter().position(|name| *name == wanted[at]),
                None => names.iter().position(|name| role.is_called(name)),
            });
            found.collect()
        };
        let by_position = || -> Result<Vec<usize>> {
            if first.len() < roles.len() {
                let expected = roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                return Err(file_error(path, format!("line 1: expected {expected}, found {} fields", first.len())));
            }
            Ok((0..roles.len()).collect())
        };
        let (header, columns) = match by_name(&first) {
            Some(columns) => (true, columns),
            None if named.is_some() => {
                let (wanted, names) = (named.unwrap_or_default().join("`, `"), first.join("`, `"));
                return Err(file_error(path, format!("line 1: expected the columns `{wanted}`, the header names `{names}`")));
            }
            None => (is_header(&first, second.as_deref(), roles), by_position()?),
        };
        // Some of the columns by name and some not: then the header does not mean what it seems to.
        let ids: Vec<Role> = roles.iter().copied().filter(|role| *role != Role::Weight).collect();
        if !header || named.is_none() && by_name(&first).is_none() {
            let known = |role: &Role| first.iter().any(|name| role.is_called(name));
            if ids.iter().all(known) && !roles.iter().all(known) {
                let names = first.join("`, `");
                return Err(file_error(path, format!("line 1: expected a column `weight`, the header names `{names}`")));
            }
        }
        let width = first.len();
        let names = if header { first.clone() } else { (1..=width).map(|at| format!("column_{at}")).collect() };
        let record = if header { second } else { Some(first) };
        let record: Option<Vec<String>> =
            record.map(|r| columns.iter().map(|c| r.get(*c).cloned().unwrap_or_default()).collect());
        Ok(Some(Self { header, names, ids: ids_of(record.as_deref(), roles, wanted), columns }))
    }
}

/// Adds what there is to do to an error of a CSV file whose ids should be numbers.
pub(super) fn with_hint(message: &str) -> String {
    if message.contains("expected UInt64") { format!("{message}; {HINT}") } else { message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::schema::{EDGES, VERTICES, WEIGHTED_EDGES};
    use super::*;

    fn text(content: &str, roles: &[Role]) -> Result<Option<TextHead>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.txt");
        std::fs::write(&path, content).unwrap();
        TextHead::read(&path, roles, None)
    }

    fn head(body: u64, fields: usize, line: u64, ids: IdType) -> Option<TextHead> {
        Some(TextHead { body, fields, line, ids })
    }

    #[test]
    fn comments_and_headers_come_before_the_records() {
        use IdType::{Number, Text};
        assert_eq!(text("1 2\n", &EDGES).unwrap(), head(0, 2, 1, Number));
        assert_eq!(text("\u{feff}1 2\n", &EDGES).unwrap(), head(3, 2, 1, Number));
        assert_eq!(text("# a\n% b\n\n 1\t2 0.5\n", &WEIGHTED_EDGES).unwrap(), head(9, 3, 4, Number));
        assert_eq!(text("FromNodeId ToNodeId\n7 8\n", &EDGES).unwrap(), head(20, 2, 2, Number));
        assert_eq!(text("a b\n7 8\n", &EDGES).unwrap(), head(4, 2, 2, Number));
        assert_eq!(text("a b\nc d\n", &EDGES).unwrap(), head(0, 2, 1, Text));
        assert_eq!(text("source target\nc d\n", &EDGES).unwrap(), head(14, 2, 2, Text));
        assert_eq!(text("%%MatrixMarket x\n% c\n3 3 1\n1 2 0.5\n", &EDGES).unwrap(), head(27, 3, 4, Number));
        assert_eq!(text("id\n5\n", &VERTICES).unwrap(), head(3, 1, 2, Number));
        assert_eq!(text("# nothing\n", &EDGES).unwrap(), None);
        assert_eq!(text("src dst\n", &EDGES).unwrap(), None);
        assert_eq!(text("", &EDGES).unwrap(), None);
    }

    #[test]
    fn too_few_fields_say_what_is_missing() {
        let error = text("# c\n1 2\n", &WEIGHTED_EDGES).unwrap_err().to_string();
        assert!(error.ends_with("line 2: expected source, target, weight, found 2 fields"), "{error}");
        let error = text("1,2\n", &EDGES).unwrap_err().to_string();
        assert!(error.contains("line 1: expected source, target, found 1 fields; fields between commas"), "{error}");
    }

    fn csv(content: &str, roles: &[Role], named: Option<&[&str]>) -> Result<Option<(bool, Vec<usize>, IdType)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, content).unwrap();
        let named: Option<Vec<String>> = named.map(|n| n.iter().map(|n| (*n).to_owned()).collect());
        let head = CsvHead::read(&path, b',', roles, named.as_deref(), None)?;
        Ok(head.map(|head| (head.header, head.columns, head.ids)))
    }

    #[test]
    fn columns_of_csv_go_by_name_or_position() {
        use IdType::{Number, Text};
        assert_eq!(csv("1,2\n", &EDGES, None).unwrap(), Some((false, vec![0, 1], Number)));
        assert_eq!(csv("dst,x,src\n1,2,3\n", &EDGES, None).unwrap(), Some((true, vec![2, 0], Number)));
        assert_eq!(csv("node_1,node_2\n1,2\n", &EDGES, None).unwrap(), Some((true, vec![0, 1], Number)));
        assert_eq!(csv("ann,bob\nbob,eve\n", &EDGES, None).unwrap(), Some((false, vec![0, 1], Text)));
        assert_eq!(csv("From,To,Weight\na,b,1\n", &WEIGHTED_EDGES, None).unwrap(), Some((true, vec![0, 1, 2], Text)));
        assert_eq!(csv("a,b,c\n1,2,3\n", &EDGES, Some(&["c", "a"])).unwrap(), Some((true, vec![2, 0], Number)));
        assert_eq!(csv("src,dst\n", &EDGES, None).unwrap(), Some((true, vec![0, 1], Number)));
        assert_eq!(csv("", &EDGES, None).unwrap(), None);
        let error = csv("src,dst,length\n1,2,3\n", &WEIGHTED_EDGES, None).unwrap_err().to_string();
        assert!(error.contains("expected a column `weight`, the header names `src`, `dst`, `length`"), "{error}");
        let error = csv("a,b\n1,2\n", &EDGES, Some(&["a", "c"])).unwrap_err().to_string();
        assert!(error.contains("expected the columns `a`, `c`, the header names `a`, `b`"), "{error}");
        let error = csv("1\n", &EDGES, None).unwrap_err().to_string();
        assert!(error.contains("line 1: expected source, target, found 1 fields"), "{error}");
    }
}
