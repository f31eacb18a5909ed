//! Normalized keys of Arrow columns: the same bytes as the typed keys of [`keys`](super), written column by column.
//!
//! | Arrow type | as |
//! |---|---|
//! | integers, dates, times, timestamps, durations, `Decimal32` to `Decimal256` | the signed or unsigned integer they hold |
//! | floats, booleans | themselves |
//! | intervals | their components, largest unit first (calendars are not consulted: 1 month is more than 1000 days) |
//! | UTF-8 and binary, large and view | `String`, `Vec<u8>` |
//! | fixed-size binary | `[u8; N]` |
//! | dictionary | its values' type |
//! | null | `Option<()>`, null |
//!
//! A nullable column is an `Option`; a column that is said to have no nulls needs no null byte, so that date32, int64
//! and int32 make a key of 16 bytes. Descending columns have their value bytes inverted; the null byte is not, it obeys
//! `nulls_first` alone. Nested columns are refused.
//!
//! Keys of fixed width lie one after another with a constant stride; others have offsets, and are written in two
//! passes: lengths, then bytes. Either way the loop over the rows is inside, the match on the type outside.

mod arrays;
mod read;
mod source;
mod write;

pub(crate) use arrays::Gather;
pub(crate) use source::{ByteValues, OffsetBytes, Rows, Source, Values, fixed_width, with_bytes};
pub(crate) use write::{for_each_row, valid};

use crate::hash::hash_bytes;
use crate::{Error, KeyWidth, Result};
use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field};
use std::ops::Range;
use write::Kind;

/// One column of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// The column's name, for messages.
    pub name: String,
    /// The column's type.
    pub data_type: DataType,
    /// Whether large values come first.
    pub descending: bool,
    /// Whether nulls come before all values; they come after them otherwise.
    pub nulls_first: bool,
    /// Whether the key has a null byte. Both sides of a join must agree, whatever their schemas say.
    pub nullable: bool,
}

impl KeyColumn {
    /// An ascending column, nulls last, nullable.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type, descending: false, nulls_first: false, nullable: true }
    }

    /// An ascending column, nulls last, nullable where the field is.
    pub fn of(field: &Field) -> Self {
        Self { nullable: field.is_nullable(), ..Self::new(field.name(), field.data_type().clone()) }
    }
}

/// Writes and reads the keys of a list of columns.
///
/// ```
/// use arrow_array::{ArrayRef, Int64Array, StringArray};
/// use arrow_schema::DataType;
/// use fluvial_memory::{KeyColumn, KeyEncoder, Keys, NormalizedKey};
/// use std::sync::Arc;
///
/// let id = KeyColumn { nullable: false, ..KeyColumn::new("id", DataType::Int64) };
/// let encoder = KeyEncoder::new(&[id, KeyColumn::new("name", DataType::Utf8)])?;
/// let columns: Vec<ArrayRef> =
///     vec![Arc::new(Int64Array::from(vec![7, -7])), Arc::new(StringArray::from(vec![Some("a"), None]))];
/// let mut keys = Keys::default();
/// encoder.encode(&columns, 0..2, &mut keys)?;
///
/// let mut typed = Vec::new();
/// (7i64, Some("a")).encode(&mut typed);
/// assert_eq!(keys.key(0), typed);
/// assert!(keys.key(1) < keys.key(0));
/// assert!(keys.has_null(1));
/// assert_eq!(&encoder.decode(keys.iter())?, &columns);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyEncoder {
    columns: Vec<Part>,
    width: KeyWidth,
}

/// A column and how it is written.
#[derive(Clone, Debug)]
struct Part {
    column: KeyColumn,
    kind: Kind,
}

impl Part {
    /// Key bytes of this column, if they are the same for all values; with the null byte.
    fn width(&self) -> Option<usize> {
        self.kind.width().map(|width| width + usize::from(self.column.nullable))
    }

    /// What the value bytes are combined with by XOR.
    fn mask(&self) -> u8 {
        if self.column.descending { 0xFF } else { 0 }
    }

    fn null_byte(&self) -> u8 {
        u8::from(!self.column.nulls_first)
    }
}

impl KeyEncoder {
    /// An encoder for keys of these columns.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a nested column; it names the column and its type.
    pub fn new(columns: &[KeyColumn]) -> Result<Self> {
        let mut parts = Vec::with_capacity(columns.len());
        let mut offset = Some(0);
        for column in columns {
            let kind = Kind::of(&column.data_type).ok_or_else(|| {
                Error::Unsupported(format!("column `{}` of type {} cannot be a key", column.name, column.data_type))
            })?;
            let nullable = column.nullable || kind == Kind::Null;
            let part = Part { column: KeyColumn { nullable, ..column.clone() }, kind };
            offset = offset.zip(part.width()).map(|(offset, width)| offset + width);
            parts.push(part);
        }
        Ok(Self { columns: parts, width: offset.map_or(KeyWidth::Variable, KeyWidth::Fixed) })
    }

    /// The width of every key.
    pub fn width(&self) -> KeyWidth {
        self.width
    }

    /// The key's columns.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &KeyColumn> {
        self.columns.iter().map(|part| &part.column)
    }

    /// Whether a column comes back from [`KeyEncoder::decode`] bit for bit: floats do not, -0.0 and NaNs are made one.
    pub fn is_lossless(&self, column: usize) -> bool {
        !matches!(self.columns[column].kind, Kind::F16 | Kind::F32 | Kind::F64)
    }

    /// Replaces the contents of `out` by the keys of a range of rows.
    ///
    /// # Errors
    /// If a column has another type than at construction, or nulls though it was said to have none.
    pub fn encode(&self, columns: &[ArrayRef], rows: Range<usize>, out: &mut Keys) -> Result<()> {
        let sources = self.sources(columns)?;
        let rows = Rows::Range(rows);
        out.clear(self.width);
        match self.width {
            KeyWidth::Fixed(width) => {
                out.bytes.resize(width * rows.len(), 0);
                out.len = rows.len();
                out.starts.extend((0..rows.len()).map(|i| (i * width) as u32));
                self.write(&sources, &rows, &mut out.bytes, &mut out.starts);
            }
            KeyWidth::Variable => {
                out.lengths.resize(rows.len(), 0);
                self.add_lengths(&sources, &rows, &mut out.lengths);
                out.offsets.push(0);
                let mut end = 0usize;
                for &length in &out.lengths {
                    out.starts.push(end as u32);
                    end += length as usize;
                    out.offsets.push(u32::try_from(end).map_err(|_| too_large())?);
                }
                out.bytes.resize(end, 0);
                out.len = rows.len();
                self.write(&sources, &rows, &mut out.bytes, &mut out.starts);
            }
        }
        self.nulls(&sources, &rows, &mut out.nulls);
        Ok(())
    }

    /// A key of nulls, or of zeros and empty strings where there are no nulls.
    pub(crate) fn default_key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        for part in &self.columns {
            if part.column.nullable {
                key.push(part.null_byte());
            }
            match part.kind.width() {
                Some(width) => key.resize(key.len() + width, 0),
                None if part.column.nullable => {}
                None => key.extend([part.mask(); 2]),
            }
        }
        key
    }

    /// Checks the arrays and prepares them for the loops.
    pub(crate) fn sources<'a>(&self, columns: &'a [ArrayRef]) -> Result<Vec<Source<'a>>> {
        if columns.len() != self.columns.len() {
            let what = format!("expected {} columns, found {}", self.columns.len(), columns.len());
            return Err(Error::Codec { type_name: "key".to_owned(), what });
        }
        let mut sources = Vec::with_capacity(columns.len());
        for (part, array) in self.columns.iter().zip(columns) {
            let column = &part.column;
            let fail = |what| Error::Codec { type_name: format!("key column {}", column.name), what };
            if array.data_type() != &column.data_type {
                return Err(fail(format!("expected {}, found {}", column.data_type, array.data_type())));
            }
            let source = Source::of(array)?;
            if let (Some(nulls), false) = (&source.nulls, column.nullable) {
                let row = (0..nulls.len()).find(|&i| nulls.is_null(i)).unwrap_or(0);
                return Err(fail(format!("expected no nulls, found one in row {row}")));
            }
            sources.push(source);
        }
        Ok(sources)
    }

    /// Marks the rows whose keys contain a null; leaves `mask` empty if there are none.
    pub(crate) fn nulls(&self, sources: &[Source<'_>], rows: &Rows<'_>, mask: &mut Vec<bool>) {
        mask.clear();
        for nulls in sources.iter().filter_map(|source| source.nulls.as_ref()) {
            mask.resize(rows.len(), false);
            for_each_row!(rows, |i, row| mask[i] |= nulls.is_null(row));
        }
        if !mask.contains(&true) {
            mask.clear();
        }
    }

    /// Whether a key contains a null: such a key equals itself in grouping, but nothing in a join.
    ///
    /// # Errors
    /// If `key` is no key of these columns.
    pub fn has_null(&self, key: &[u8]) -> Result<bool> {
        let mut at = 0;
        let mut scratch = Vec::new();
        for part in &self.columns {
            let ends_early = |at| super::ends_early("key", at + 1, key.len());
            if part.column.nullable {
                if *key.get(at).ok_or_else(|| ends_early(at))? == part.null_byte() {
                    return Ok(true);
                }
                at += 1;
            }
            at += match part.kind.width() {
                Some(width) => width,
                None => {
                    scratch.clear();
                    let rest = key.get(at..).ok_or_else(|| ends_early(at))?;
                    super::unescape(rest, part.mask(), &mut scratch)
                        .map_err(|what| Error::Codec { type_name: format!("key column {}", part.column.name), what })?
                }
            };
        }
        Ok(false)
    }
}

#[cold]
pub(crate) fn too_large() -> Error {
    Error::Codec { type_name: "batch".to_owned(), what: "expected at most 4 GiB of rows in a batch, found more".to_owned() }
}

/// The keys of a batch of rows.
#[derive(Clone, Debug)]
pub struct Keys {
    width: KeyWidth,
    bytes: Vec<u8>,
    len: usize,
    /// For keys of variable width: `len + 1` offsets into `bytes`.
    offsets: Vec<u32>,
    /// Empty, or whether each key contains a null.
    nulls: Vec<bool>,
    /// Scratch: where the next column of each key goes.
    starts: Vec<u32>,
    /// Scratch: the length of each key.
    lengths: Vec<u32>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            width: KeyWidth::Fixed(0),
            bytes: Vec::new(),
            len: 0,
            offsets: Vec::new(),
            nulls: Vec::new(),
            starts: Vec::new(),
            lengths: Vec::new(),
        }
    }
}

impl Keys {
    fn clear(&mut self, width: KeyWidth) {
        self.width = width;
        self.len = 0;
        self.bytes.clear();
        self.offsets.clear();
        self.nulls.clear();
        self.starts.clear();
        self.lengths.clear();
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The width of every key.
    pub fn width(&self) -> KeyWidth {
        self.width
    }

    /// All keys, one after another.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A key.
    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        match self.width {
            KeyWidth::Fixed(width) => &self.bytes[index * width..(index + 1) * width],
            KeyWidth::Variable => &self.bytes[self.offsets[index] as usize..self.offsets[index + 1] as usize],
        }
    }

    /// All keys in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len).map(|i| self.key(i))
    }

    /// Whether a key contains a null.
    #[inline]
    pub fn has_null(&self, index: usize) -> bool {
        self.nulls.get(index).is_some_and(|&null| null)
    }

    /// Whether each key contains a null; empty where none does.
    pub fn null_mask(&self) -> &[bool] {
        &self.nulls
    }

    /// Replaces the contents of `out` by the fixed hash of every key.
    pub fn hashes(&self, out: &mut Vec<u64>) {
        match self.width {
            KeyWidth::Fixed(width) if width > 0 => hash_strided(&self.bytes, width, out),
            _ => {
                out.clear();
                out.extend(self.iter().map(hash_bytes));
            }
        }
    }
}

/// Replaces the contents of `out` by the fixed hash of every key in `keys`, which have `width` bytes each.
///
/// # Panics
/// If `width` is 0.
pub fn hash_strided(keys: &[u8], width: usize, out: &mut Vec<u64>) {
    fn fixed<const N: usize>(keys: &[u8], out: &mut Vec<u64>) {
        // The length is a constant here, so that the hash's choice by length is made once, not for every key.
        out.extend(keys.as_chunks::<N>().0.iter().map(|key| hash_bytes(key)));
    }
    out.clear();
    out.reserve(keys.len() / width);
    match width {
        4 => fixed::<4>(keys, out),
        8 => fixed::<8>(keys, out),
        12 => fixed::<12>(keys, out),
        16 => fixed::<16>(keys, out),
        _ => out.extend(keys.chunks_exact(width).map(hash_bytes)),
    }
}

#[cfg(test)]
mod tests;
