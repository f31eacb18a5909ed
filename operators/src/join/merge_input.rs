//! One side of a sort-merge join: rows in order, the first of them at hand.

use super::kind::Side;
use super::spool::{Spool, SpoolContext, SpoolReader, SpoolStep, Spooled};
use fluvial_memory::{Error, Result, RowShape};

/// What [`MergeInput::fill`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A row is at hand.
    Row,
    /// A file is being read.
    Waiting,
    /// All rows pushed so far are consumed.
    Starved,
    /// And there will be no more.
    End,
}

pub(crate) struct MergeInput {
    side: Side,
    shape: RowShape,
    context: SpoolContext,
    /// Rows being read, and rows pushed meanwhile.
    front: Option<(Spooled, SpoolReader)>,
    back: Option<Spool>,
    /// Rows with null keys, which have no place in the order.
    nulls: Option<Spool>,
    reading_nulls: Option<(Spooled, SpoolReader)>,
    head: Vec<u8>,
    state: Head,
    null: bool,
    rows: u64,
    ended: bool,
}

impl MergeInput {
    pub(crate) fn new(side: Side, shape: RowShape, context: SpoolContext) -> Self {
        Self {
            side,
            shape,
            context,
            front: None,
            back: None,
            nulls: None,
            reading_nulls: None,
            head: Vec::new(),
            state: Head::Starved,
            null: false,
            rows: 0,
            ended: false,
        }
    }

    pub(crate) fn push(&mut self, row: &[u8]) -> Result<()> {
        self.back.get_or_insert_with(|| Spool::new(self.context.clone())).push(row)
    }

    /// A row with a null key: it comes to the head when all others have.
    pub(crate) fn push_null(&mut self, row: &[u8]) -> Result<()> {
        self.nulls.get_or_insert_with(|| Spool::new(self.context.clone())).push(row)
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the last [`MergeInput::fill`] found that rows are missing, which have not come since.
    pub(crate) fn is_starved(&self) -> bool {
        self.state == Head::Starved && !self.ended && self.front.is_none() && self.back.is_none()
    }

    /// The row at hand.
    pub(crate) fn row(&self) -> &[u8] {
        &self.head
    }

    /// Its key, if that is not null.
    pub(crate) fn key(&self) -> &[u8] {
        self.shape.key(&self.head)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.null
    }

    /// The row at hand is done with.
    pub(crate) fn consume(&mut self) {
        self.state = Head::Starved;
    }

    /// Brings a row to hand unless there is one.
    pub(crate) fn fill(&mut self) -> Result<Head> {
        if self.state == Head::Row {
            return Ok(Head::Row);
        }
        self.state = loop {
            if let Some((rows, reader)) = &mut self.front {
                match reader.next(rows)? {
                    SpoolStep::Row(row) => {
                        let key = self.shape.key(row);
                        if self.rows > 0 && key < self.shape.key(&self.head) {
                            return Err(Error::Unsupported(format!(
                                "operator `{}`: the {:?} input of a sort-merge join is not in key order: row {} is less than the row before it",
                                self.context.operator, self.side, self.rows
                            )));
                        }
                        self.head.clear();
                        self.head.extend_from_slice(row);
                        self.rows += 1;
                        break Head::Row;
                    }
                    SpoolStep::Waiting => break Head::Waiting,
                    SpoolStep::End => self.front = None,
                }
            }
            if let Some(back) = self.back.take() {
                let rows = back.seal()?;
                let reader = rows.reader()?;
                self.front = Some((rows, reader));
            } else if self.ended {
                break self.fill_null()?;
            } else {
                break Head::Starved;
            }
        };
        Ok(self.state)
    }

    fn fill_null(&mut self) -> Result<Head> {
        self.null = true;
        if let Some(nulls) = self.nulls.take() {
            let rows = nulls.seal()?;
            let reader = rows.reader()?;
            self.reading_nulls = Some((rows, reader));
        }
        let Some((rows, reader)) = &mut self.reading_nulls else { return Ok(Head::End) };
        Ok(match reader.next(rows)? {
            SpoolStep::Row(row) => {
                self.head.clear();
                self.head.extend_from_slice(row);
                Head::Row
            }
            SpoolStep::Waiting => Head::Waiting,
            SpoolStep::End => {
                self.reading_nulls = None;
                Head::End
            }
        })
    }
}
