use super::{SortKey, Table, parse_sort_keys};
use crate::blocking::{SortOperator, SortPlan, TableRows, least};
use crate::graph::{Distribution, OperatorFactory, Timing};
use crate::{Operator, Result};
use fluvial_memory::{KeyColumn, KeyEncoder, RowCodec};
use std::sync::Arc;

impl Table {
    /// Sorts by columns: `"l_shipdate, l_orderkey desc nulls first"`. Nulls are last unless said otherwise, strings order by
    /// bytes, NaN is the largest number. The whole table is ordered, over all workers; it may be larger than memory.
    ///
    /// # Errors
    /// Text that does not parse, a column that is not there or is nested.
    pub fn sort(&self, by: &str) -> Result<Table> {
        self.sort_by(&parse_sort_keys(by)?)
    }

    /// Like [`Table::sort`], with the keys parsed.
    ///
    /// # Errors
    /// As [`Table::sort`].
    pub fn sort_by(&self, keys: &[SortKey]) -> Result<Table> {
        self.sorted("sort", keys, SortPlan::default())
    }

    /// The first `count` rows of the table sorted by these columns, in order, without sorting the rest.
    ///
    /// # Errors
    /// As [`Table::sort`].
    pub fn top(&self, by: &str, count: u64) -> Result<Table> {
        self.sorted("top", &parse_sort_keys(by)?, SortPlan { limit: Some(count), per_worker: false })
    }

    /// Sorts the rows of each worker on their own.
    ///
    /// # Errors
    /// As [`Table::sort`].
    pub fn sort_partition(&self, by: &str) -> Result<Table> {
        self.sorted("sort_partition", &parse_sort_keys(by)?, SortPlan { limit: None, per_worker: true })
    }

    fn sorted(&self, kind: &'static str, keys: &[SortKey], plan: SortPlan) -> Result<Table> {
        let columns = keys.iter().map(|k| self.column(&k.column)).collect::<Result<Vec<_>>>()?;
        let encoded: Vec<KeyColumn> = keys
            .iter()
            .zip(&columns)
            .map(|(key, &c)| {
                let mut column = KeyColumn::of(self.schema.field(c));
                column.descending = key.descending;
                column.nulls_first = key.nulls_first;
                column
            })
            .collect();
        let codec = RowCodec::new(self.schema.clone(), Some((KeyEncoder::new(&encoded)?, columns)))?;
        let make: OperatorFactory = Arc::new(move |context| {
            let operator: Box<dyn Operator> = Box::new(SortOperator::open(TableRows::new(codec.clone()), plan, context)?);
            Ok(operator)
        });
        let order = |k: &SortKey| {
            let direction = if k.descending { " desc" } else { "" };
            format!("{}{direction}{}", k.column, if k.nulls_first { " nulls first" } else { "" })
        };
        let mut detail = keys.iter().map(order).collect::<Vec<_>>().join(", ");
        if let Some(count) = plan.limit {
            detail.push_str(&format!(", first {count}"));
        }
        let config = self.env.config();
        let mut node =
            self.after(kind, detail, crate::graph::Body::Operator(make)).reserves(least::SORT).timing(Timing::AtTheEnd);
        if config.hosts.len() > 1 && !plan.per_worker {
            node.inputs[0].distribution = Distribution::FirstProcess { workers: config.threads };
        }
        Ok(Table::new(&self.env, self.env.add(node), self.schema.clone()))
    }
}
