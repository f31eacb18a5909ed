//! Columns to rows.

use super::block::{Blocks, Tree};
use super::layout::{Leaf, Node, Slot};
use crate::keys::columns::{ByteValues, Rows, Source, Values, for_each_row, valid, with_bytes};
use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};

/// A column on its way into rows.
pub(super) struct Job<'a> {
    leaf: &'a Leaf,
    source: Source<'a>,
    /// Where the column is nested.
    tree: Option<Tree<'a>>,
}

impl<'a> Job<'a> {
    /// The jobs of a column and, if it is a struct, of its fields.
    pub fn collect(node: &'a Node, array: &'a ArrayRef, jobs: &mut Vec<Self>) -> Result<()> {
        match node {
            Node::Key(_) => {}
            Node::Leaf(leaf) => {
                let tree = match &leaf.slot {
                    Slot::Nested(_, block) => Some(Tree::new(block, array)?),
                    _ => None,
                };
                jobs.push(Self { leaf, source: Source::of(array)?, tree });
            }
            Node::Struct { leaf, children } => {
                let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
                jobs.push(Self { leaf, source: Source { values: Values::Null, index: None, nulls }, tree: None });
                for (node, array) in children.iter().zip(array.as_struct().columns()) {
                    Self::collect(node, array, jobs)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the variable bytes of each row to `lengths`. Blocks of nested values are written on the way.
    pub fn lengths(&self, rows: &Rows<'_>, lengths: &mut [u32]) -> Result<Option<Blocks>> {
        match &self.leaf.slot {
            Slot::Bytes(_) => {
                let values = self.source.rows(rows);
                // Too long a length is caught where the lengths are summed.
                with_bytes!(&self.source.values, bytes => match self.source.nulls_in(rows) {
                    None => for_each_row!(*values, |i, row| lengths[i] = lengths[i].saturating_add(bytes.length(row) as u32)),
                    Some(nulls) => {
                        let valid = valid(nulls, rows);
                        for_each_row!(*values, |i, row| if valid[i] {
                            lengths[i] = lengths[i].saturating_add(bytes.length(row) as u32);
                        });
                    }
                }, ());
                Ok(None)
            }
            Slot::Nested(..) => {
                let mut blocks = Blocks::with_capacity(rows.len());
                if let Some(tree) = &self.tree {
                    let nulls = self.source.nulls.as_ref().filter(|_| self.leaf.null_bit.is_some());
                    for_each_row!(*rows, |i, row| {
                        let valid = nulls.is_none_or(|nulls| nulls.is_valid(row));
                        lengths[i] = lengths[i].saturating_add(blocks.push(valid.then_some((tree, row)))?);
                    });
                }
                Ok(Some(blocks))
            }
            _ => Ok(None),
        }
    }

    /// Writes the column into the rows whose payloads start at `starts`. `cursors` is where the variable bytes of each
    /// row end so far, from the start of its payload. The first of these rows is number `first` of the blocks.
    pub fn write(
        &self,
        rows: &Rows<'_>,
        first: usize,
        blocks: Option<&Blocks>,
        out: &mut [u8],
        starts: &[u32],
        cursors: &mut [u32],
    ) -> Result<()> {
        let valid = match (self.leaf.null_bit, self.source.nulls_in(rows)) {
            (Some(bit), Some(nulls)) => {
                let valid = valid(nulls, rows);
                for (&start, &valid) in starts.iter().zip(&valid) {
                    out[start as usize + bit / 8] |= u8::from(!valid) << (bit % 8);
                }
                Some(valid)
            }
            _ => None,
        };
        let values = self.source.rows(rows);
        let mut column = Column { rows: &values, valid: valid.as_deref(), out, starts };
        match (&self.leaf.slot, &self.source.values) {
            (Slot::None, _) => {}
            (Slot::Bool { at }, Values::Bool(bits)) => column.each(|out, row| out[*at] = u8::from(bits.value(row))),
            (Slot::Fixed { at, width }, Values::Fixed(values)) => match *width {
                0 => {}
                1 => column.fixed::<1>(*at, values),
                2 => column.fixed::<2>(*at, values),
                4 => column.fixed::<4>(*at, values),
                8 => column.fixed::<8>(*at, values),
                16 => column.fixed::<16>(*at, values),
                32 => column.fixed::<32>(*at, values),
                width => column.each(|out, row| out[*at..at + width].copy_from_slice(&values[row * width..(row + 1) * width])),
            },
            (Slot::Narrow { at }, Values::Fixed(values)) => {
                column.narrow(*at, values).then_some(()).ok_or_else(|| self.too_wide(rows, values))?;
            }
            (Slot::Bytes(variable), values) => {
                with_bytes!(values, bytes => column.bytes(variable.at, bytes, cursors), column.ends(variable.at, cursors));
            }
            (Slot::Nested(variable, _), _) => {
                let rows = Rows::Range(first..first + rows.len());
                let mut column = Column { rows: &rows, valid: None, out: column.out, starts };
                match blocks {
                    Some(blocks) => column.bytes(variable.at, blocks, cursors),
                    None => column.ends(variable.at, cursors),
                }
            }
            // A dictionary of nothing but nulls.
            _ => {}
        }
        Ok(())
    }

    #[cold]
    fn too_wide(&self, rows: &Rows<'_>, values: &[u8]) -> Error {
        let mut found = 0;
        for_each_row!(*self.source.rows(rows), |_, row| {
            let value = decimal(&values.as_chunks::<16>().0[row]);
            if i64::try_from(value).is_err() {
                found = value;
            }
        });
        let what = format!("expected values of {}, found the unscaled value {found}", self.leaf.data_type);
        Error::Codec { type_name: format!("column {}", self.leaf.name), what }
    }
}

#[inline(always)]
fn decimal(bytes: &[u8; 16]) -> i128 {
    i128::from_le_bytes(*bytes)
}

struct Column<'a> {
    /// The rows of the values.
    rows: &'a Rows<'a>,
    /// Whether each row has a value; `None` where all have.
    valid: Option<&'a [bool]>,
    out: &'a mut [u8],
    starts: &'a [u32],
}

impl Column<'_> {
    /// Calls `put` with the payload (and what follows it) and the row of each value.
    #[inline(always)]
    fn each(&mut self, mut put: impl FnMut(&mut [u8], usize)) {
        let Self { rows, valid, out, starts } = self;
        let starts = &starts[..rows.len()];
        match valid {
            None => for_each_row!(**rows, |i, row| put(&mut out[starts[i] as usize..], row)),
            Some(valid) => {
                let valid = &valid[..rows.len()];
                for_each_row!(**rows, |i, row| if valid[i] {
                    put(&mut out[starts[i] as usize..], row)
                });
            }
        }
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self, at: usize, values: &[u8]) {
        let values = values.as_chunks::<N>().0;
        self.each(|out, row| out[at..at + N].copy_from_slice(&values[row]));
    }

    /// Whether all values fit.
    fn narrow(&mut self, at: usize, values: &[u8]) -> bool {
        let values = values.as_chunks::<16>().0;
        let mut fits = true;
        self.each(|out, row| {
            let value = decimal(&values[row]);
            fits &= i128::from(value as i64) == value;
            out[at..at + 8].copy_from_slice(&(value as i64).to_le_bytes());
        });
        fits
    }

    #[inline(always)]
    fn bytes(&mut self, at: usize, values: impl ByteValues, cursors: &mut [u32]) {
        let cursors = &mut cursors[..self.rows.len()];
        let starts = &self.starts[..self.rows.len()];
        for_each_row!(*self.rows, |i, row| {
            let out = &mut self.out[starts[i] as usize..];
            let mut end = cursors[i];
            if self.valid.is_none_or(|valid| valid[i]) {
                let value = values.bytes(row);
                out[end as usize..][..value.len()].copy_from_slice(value);
                end += value.len() as u32;
                cursors[i] = end;
            }
            out[at..at + 4].copy_from_slice(&end.to_le_bytes());
        });
    }

    /// For a column without any bytes.
    fn ends(&mut self, at: usize, cursors: &[u32]) {
        for (&start, end) in self.starts.iter().zip(cursors) {
            self.out[start as usize + at..][..4].copy_from_slice(&end.to_le_bytes());
        }
    }
}
