use super::{Table, parse_aggregates, parse_columns};
use crate::{Error, Result};

/// A grouped table that is being described: finish it with [`Grouped::aggregate`].
pub struct Grouped {
    table: Table,
    by: Vec<String>,
}

impl Table {
    /// Groups by columns: `"l_returnflag, l_linestatus"`; by none, all rows are one group. Nulls are a group of their own.
    ///
    /// # Errors
    /// A column that is not there or is nested.
    pub fn group_by(&self, columns: &str) -> Result<Grouped> {
        let by = if columns.trim().is_empty() { Vec::new() } else { parse_columns(columns)? };
        by.iter().try_for_each(|c| self.column(c).map(drop))?;
        Ok(Grouped { table: self.clone(), by })
    }
}

impl Grouped {
    /// Aggregates of each group.
    ///
    /// # Errors
    /// Text that does not parse, a column that is not there, or a type that the function does not take.
    pub fn aggregate(&self, aggregates: &str) -> Result<Table> {
        let _ = (parse_aggregates(aggregates)?, &self.table, &self.by);
        Err(Error::Plan("not yet".into()))
    }
}
