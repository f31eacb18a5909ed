use super::row::{Row, SparseRow};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Rows of features that lie one after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rows {
    /// With all values.
    Dense(DenseRows),
    /// With the values that are not zero.
    Sparse(SparseRows),
}

/// Dense rows of one width.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DenseRows {
    width: usize,
    count: usize,
    values: Vec<f64>,
}

/// Sparse rows of one width (compressed sparse rows).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SparseRows {
    width: usize,
    /// Where each row begins; one more than there are rows.
    offsets: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f64>,
}

impl DenseRows {
    /// No rows, of this width.
    pub fn new(width: usize) -> Self {
        Self { width, count: 0, values: Vec::new() }
    }

    /// Rows of this width out of values that lie row by row.
    ///
    /// # Errors
    /// The values are not whole rows.
    pub fn from_values(width: usize, values: Vec<f64>) -> Result<Self> {
        let count = values.len().checked_div(width).unwrap_or(0);
        if count * width != values.len() {
            return Err(Error::Data(format!("{} values are no rows of {width}", values.len())));
        }
        Ok(Self { width, count, values })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The row has another width.
    pub fn push(&mut self, row: &[f64]) -> Result<()> {
        check_width(row.len(), self.width)?;
        self.values.extend_from_slice(row);
        self.count += 1;
        Ok(())
    }

    /// All values, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// All values, to be changed in place.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }
}

impl SparseRows {
    /// No rows, of this width.
    pub fn new(width: usize) -> Self {
        Self { width, offsets: vec![0], indices: Vec::new(), values: Vec::new() }
    }

    /// Adds a row of places and values.
    ///
    /// # Errors
    /// Places that do not ascend strictly or lie outside.
    pub fn push(&mut self, indices: &[u32], values: &[f64]) -> Result<()> {
        if indices.len() != values.len() {
            return Err(Error::Data(format!("{} places for {} values", indices.len(), values.len())));
        }
        if let Some(pair) = indices.windows(2).find(|w| w[0] >= w[1]) {
            return Err(Error::Data(format!("the place {} of a sparse row follows {}: places must ascend", pair[1], pair[0])));
        }
        if let Some(last) = indices.last().filter(|last| **last as usize >= self.width) {
            return Err(Error::Data(format!("place {last} in a sparse row of width {}", self.width)));
        }
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
        self.offsets.push(self.indices.len());
        Ok(())
    }

    /// Changes all stored values, each with its place.
    pub fn for_each_mut(&mut self, mut f: impl FnMut(usize, &mut f64)) {
        self.indices.iter().zip(&mut self.values).for_each(|(i, x)| f(*i as usize, x));
    }

    /// Changes the stored values row by row.
    pub fn for_each_row_mut(&mut self, mut f: impl FnMut(&mut [f64])) {
        self.offsets.windows(2).for_each(|ends| f(&mut self.values[ends[0]..ends[1]]));
    }

    /// The same values in rows of another width, at least as wide as the last place needs.
    pub fn with_width(mut self, width: usize) -> Self {
        let needed = self.indices.iter().max().map_or(0, |i| *i as usize + 1);
        self.width = width.max(needed);
        self
    }

    #[inline]
    fn row(&self, i: usize) -> SparseRow<'_> {
        let range = self.offsets[i]..self.offsets[i + 1];
        SparseRow { width: self.width, indices: &self.indices[range.clone()], values: &self.values[range] }
    }
}

pub(crate) fn check_width(given: usize, expected: usize) -> Result<()> {
    if given == expected { Ok(()) } else { Err(Error::Data(format!("a row of {given} features among rows of {expected}"))) }
}

impl Rows {
    /// No rows of the kind and width of these.
    pub fn empty_like(&self) -> Self {
        match self {
            Self::Dense(rows) => Self::Dense(DenseRows::new(rows.width)),
            Self::Sparse(rows) => Self::Sparse(SparseRows::new(rows.width)),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.count,
            Self::Sparse(rows) => rows.offsets.len() - 1,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Features a row.
    pub fn width(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.width,
            Self::Sparse(rows) => rows.width,
        }
    }

    /// Bytes of the values.
    pub fn byte_len(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.values.len() * 8,
            Self::Sparse(rows) => rows.offsets.len() * 8 + rows.values.len() * 12,
        }
    }

    /// How many values are stored: of sparse rows those that are not zero.
    fn stored(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.values.len(),
            Self::Sparse(rows) => rows.values.len(),
        }
    }

    /// Makes room for so many more values and rows.
    fn reserve(&mut self, values: usize, count: usize) {
        match self {
            Self::Dense(rows) => rows.values.reserve_exact(values),
            Self::Sparse(rows) => {
                rows.offsets.reserve_exact(count);
                rows.indices.reserve_exact(values);
                rows.values.reserve_exact(values);
            }
        }
    }

    /// Row `i`.
    ///
    /// # Panics
    /// There is no such row.
    #[inline]
    pub fn row(&self, i: usize) -> Row<'_> {
        match self {
            Self::Dense(rows) => Row::Dense(&rows.values[i * rows.width..(i + 1) * rows.width]),
            Self::Sparse(rows) => Row::Sparse(rows.row(i)),
        }
    }

    /// The rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// Adds a row; of a sparse row in a dense block the zeros are written out, and the other way round.
    ///
    /// # Errors
    /// The row has another width.
    pub fn push(&mut self, row: Row<'_>) -> Result<()> {
        check_width(row.width(), self.width())?;
        match (self, row) {
            (Self::Dense(rows), Row::Dense(values)) => rows.push(values),
            (Self::Dense(rows), row) => {
                let start = rows.values.len();
                rows.values.resize(start + rows.width, 0.0);
                row.write_to(&mut rows.values[start..]);
                rows.count += 1;
                Ok(())
            }
            (Self::Sparse(rows), Row::Sparse(row)) => rows.push(row.indices, row.values),
            (Self::Sparse(rows), row) => {
                row.for_each(|i, x| {
                    if x != 0.0 {
                        rows.indices.push(i as u32);
                        rows.values.push(x);
                    }
                });
                rows.offsets.push(rows.indices.len());
                Ok(())
            }
        }
    }

    /// The rows at these places.
    pub fn pick(&self, places: &[usize]) -> Self {
        let mut picked = self.empty_like();
        for place in places {
            picked.push(self.row(*place)).unwrap_or_else(|_| unreachable!("rows of one block have one width"));
        }
        picked
    }

    /// The rows from place `start` to place `end`.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        match self {
            Self::Dense(DenseRows { width, values, .. }) => {
                Self::Dense(DenseRows { width: *width, count: end - start, values: values[start * width..end * width].to_vec() })
            }
            Self::Sparse(_) => self.pick(&(start..end).collect::<Vec<_>>()),
        }
    }

    /// Adds all rows of another block.
    ///
    /// # Errors
    /// They have another width.
    pub fn append(&mut self, other: &Rows) -> Result<()> {
        check_width(other.width(), self.width())?;
        match (self, other) {
            (Self::Dense(rows), Self::Dense(more)) => {
                rows.values.extend_from_slice(&more.values);
                rows.count += more.count;
                Ok(())
            }
            (rows, more) => more.iter().try_for_each(|row| rows.push(row)),
        }
    }
}

/// Examples that travel together: what a stream carries where single records would cost too much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// The features.
    pub rows: Rows,
    /// A label a row; none where there are no labels.
    pub labels: Vec<f64>,
}

impl Block {
    /// Rows and their labels, which may be absent.
    ///
    /// # Errors
    /// More or fewer labels than rows, but not none.
    pub fn new(rows: Rows, labels: Vec<f64>) -> Result<Self> {
        if !labels.is_empty() && labels.len() != rows.len() {
            return Err(Error::Data(format!("{} labels for {} rows", labels.len(), rows.len())));
        }
        Ok(Self { rows, labels })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The label of row `i`; not a number where there are no labels.
    #[inline]
    pub fn label(&self, i: usize) -> f64 {
        self.labels.get(i).copied().unwrap_or(f64::NAN)
    }

    /// The records at these places.
    pub fn pick(&self, places: &[usize]) -> Self {
        let labels = if self.labels.is_empty() { Vec::new() } else { places.iter().map(|i| self.labels[*i]).collect() };
        Self { rows: self.rows.pick(places), labels }
    }

    /// The records from place `start` to place `end`.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        let labels = if self.labels.is_empty() { Vec::new() } else { self.labels[start..end].to_vec() };
        Self { rows: self.rows.slice(start, end), labels }
    }

    /// All records of several blocks, one block after another; each is dropped once it is copied.
    ///
    /// # Errors
    /// No blocks; blocks of different widths.
    pub fn concat(blocks: Vec<Self>) -> Result<Self> {
        let (values, count) = blocks.iter().fold((0, 0), |(values, count), b| (values + b.rows.stored(), count + b.len()));
        let mut blocks = blocks.into_iter();
        let Some(mut all) = blocks.next() else { return Err(Error::Data("no blocks to put together".into())) };
        if blocks.len() == 0 {
            return Ok(all);
        }
        all.rows.reserve(values - all.rows.stored(), count - all.len());
        for block in blocks {
            if block.labels.is_empty() != all.labels.is_empty() && !block.is_empty() && !all.is_empty() {
                return Err(Error::Data("blocks with labels among blocks without".into()));
            }
            all.rows.append(&block.rows)?;
            all.labels.extend(block.labels);
        }
        Ok(all)
    }

    /// The records in `parts` parts, in turn: record `i` is in part `i % parts`.
    pub fn deal(&self, parts: usize) -> Vec<Self> {
        (0..parts).map(|part| self.pick(&(part..self.len()).step_by(parts.max(1)).collect::<Vec<_>>())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_what_was_pushed_in_either_form() {
        let mut dense = Rows::Dense(DenseRows::new(3));
        let mut sparse = Rows::Sparse(SparseRows::new(3));
        let given = [[0.0, 1.0, 2.0], [0.0, 0.0, 0.0], [5.0, 0.0, -1.0]];
        for (i, row) in given.iter().enumerate() {
            if i % 2 == 0 {
                dense.push(Row::Dense(row)).unwrap();
                sparse.push(dense.row(i)).unwrap();
            } else {
                sparse.push(Row::Dense(row)).unwrap();
                dense.push(sparse.row(i)).unwrap();
            }
        }
        for (i, row) in given.iter().enumerate() {
            assert_eq!(dense.row(i), Row::Dense(row));
            let mut copy = [7.0; 3];
            sparse.row(i).write_to(&mut copy);
            assert_eq!(copy, *row);
        }
        assert_eq!(sparse.pick(&[2, 0]).row(0), sparse.row(2));
        assert!(dense.push(Row::Dense(&[1.0])).unwrap_err().to_string().contains("a row of 1 features among rows of 3"));
    }

    #[test]
    fn sparse_rows_have_ascending_places_within_the_width() {
        let mut rows = SparseRows::new(5);
        assert!(rows.push(&[1, 1], &[1.0, 2.0]).unwrap_err().to_string().contains("must ascend"));
        assert!(rows.push(&[5], &[1.0]).unwrap_err().to_string().contains("width 5"));
        assert!(rows.push(&[1, 2], &[1.0]).is_err());
        rows.push(&[0, 4], &[1.0, 2.0]).unwrap();
        assert_eq!(Rows::Sparse(rows).len(), 1);
    }

    #[test]
    fn records_are_dealt_out_in_turn() {
        let rows = Rows::Dense(DenseRows::from_values(1, (0..5).map(f64::from).collect()).unwrap());
        let block = Block::new(rows, vec![0.0, 1.0, 0.0, 1.0, 0.0]).unwrap();
        let parts = block.deal(2);
        assert_eq!((parts[0].len(), parts[1].len(), parts[1].label(1)), (3, 2, 1.0));
        assert!(Block::new(block.rows, vec![1.0]).is_err());
    }
}
