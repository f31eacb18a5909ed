use super::{AggregateSpec, Function, Table, find_column, parse_aggregates, parse_columns, schema_of, table_head};
use crate::blocking::{AggregateOperator, OUTPUT_ROWS, least};
use crate::chain::{AnyCollector, Collector, Context};
use crate::exchange::RowsByHash;
use crate::graph::{Body, Distribution, OperatorFactory, TaskContext, Timing};
use crate::{Batch, Operator, Position, Progress, Result};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, SchemaRef};
use fluvial_memory::{KeyColumn, KeyEncoder, Keys, RowBatch, RowShape};
use fluvial_operators::aggregate::{AggregateFunction, Aggregation, ColumnAggregate, ColumnAggregates, Combine, CombineOptions};
use std::sync::Arc;

/// A grouped table that is being described: finish it with [`Grouped::aggregate`].
#[must_use = "a grouping does nothing before its aggregates are chosen"]
pub struct Grouped {
    pub(super) table: Table,
    pub(super) by: Vec<String>,
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

    /// Each row once. Nulls equal nulls.
    ///
    /// # Errors
    /// A nested column.
    pub fn distinct(&self) -> Result<Table> {
        let by = self.schema.fields().iter().map(|f| f.name().clone()).collect();
        Grouped { table: self.clone(), by }.of(&[]).map(|t| t.name("distinct"))
    }
}

impl Grouped {
    /// Aggregates of each group: `"sum(l_quantity) as q, count(*) as n"`. There are `sum`, `count`, `count(distinct ..)`, `min`,
    /// `max` and `avg`; nulls are ignored, an integer sum that overflows is an error, sums of decimals widen.
    ///
    /// The result has the grouping columns, then the aggregates.
    ///
    /// # Errors
    /// Text that does not parse, a column that is not there, or a type that the function does not take.
    pub fn aggregate(&self, aggregates: &str) -> Result<Table> {
        let specs = parse_aggregates(aggregates)?;
        if specs.iter().any(|s| s.function == Function::CountDistinct) {
            return self.count_distinct(&specs);
        }
        self.of(&specs)
    }

    /// The groups with these aggregates.
    pub(super) fn of(&self, specs: &[AggregateSpec]) -> Result<Table> {
        let mut names: Vec<&str> = self.by.iter().map(String::as_str).collect();
        for column in specs.iter().filter_map(|s| s.column.as_deref()) {
            if !names.contains(&column) {
                names.push(column);
            }
        }
        let counts_only = names.is_empty();
        let table = match (counts_only, self.table.schema.fields().first()) {
            // Rows are to be counted and no column is wanted: the first will do.
            (true, Some(first)) => self.table.narrow(&[first.name()])?,
            (true, None) => self.table.clone(),
            (false, _) => self.table.narrow(&names)?,
        };
        let plan = Arc::new(GroupPlan::new(&table, &self.by, specs)?);
        let by = self.by.join(", ");
        let wanted = specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        let combining = plan.clone();
        let combine = Body::Sink {
            make: Arc::new(move |context| Ok(AnyCollector::new::<RecordBatch>(TableCombine::open(&combining, context)?))),
            head: table_head(),
        };
        let combine = table.env.add(table.after("combine", by.clone(), combine).reserves(least::COMBINE));
        let partial = Table::new(&table.env, combine, table.schema.clone());
        let (shape, schema) = (plan.shape(), plan.schema.clone());
        let make: OperatorFactory = Arc::new(move |context| plan.clone().operator(context));
        let mut node = partial
            .after("aggregate", if wanted.is_empty() { by.clone() } else { format!("{by}; {wanted}") }, Body::Operator(make))
            .reserves(least::AGGREGATE)
            .timing(Timing::AtTheEnd);
        node.inputs[0].distribution =
            Distribution::Hash { key: by, partitioner: Arc::new(move || Box::new(RowsByHash::new(shape))) };
        Ok(Table::new(&table.env, table.env.add(node), schema))
    }
}

/// How a table is grouped.
struct GroupPlan {
    key: KeyEncoder,
    key_columns: Vec<usize>,
    aggregates: ColumnAggregates,
    schema: SchemaRef,
}

impl GroupPlan {
    fn new(table: &Table, by: &[String], specs: &[AggregateSpec]) -> Result<Self> {
        let input = &table.schema;
        let key_columns = by.iter().map(|c| find_column(input, c)).collect::<Result<Vec<_>>>()?;
        let keys: Vec<KeyColumn> = key_columns.iter().map(|&c| KeyColumn::of(input.field(c))).collect();
        let mut fields: Vec<Field> = key_columns.iter().map(|&c| input.field(c).clone()).collect();
        let mut aggregates = Vec::new();
        for spec in specs {
            let Some(column) = &spec.column else {
                aggregates.push(ColumnAggregate::count_star());
                continue;
            };
            let column = find_column(input, column)?;
            let field = input.field(column);
            let function = match spec.function {
                Function::Sum => AggregateFunction::Sum,
                Function::Count | Function::CountDistinct => AggregateFunction::Count,
                Function::Min => AggregateFunction::Min,
                Function::Max => AggregateFunction::Max,
                Function::Avg => AggregateFunction::Avg,
            };
            let aggregate = ColumnAggregate::new(function, column, field.data_type().clone(), field.name());
            aggregates.push(if field.is_nullable() { aggregate } else { aggregate.not_null() });
        }
        let aggregates = ColumnAggregates::new(&aggregates)?;
        for (i, (spec, output)) in specs.iter().zip(aggregates.output_types()).enumerate() {
            // One group of no rows has null results.
            fields.push(Field::new(&spec.name, output.clone(), aggregates.output_nullable(i) || by.is_empty()));
        }
        Ok(Self { key: KeyEncoder::new(&keys)?, key_columns, aggregates, schema: schema_of(fields, input)? })
    }

    fn shape(&self) -> RowShape {
        let key = self.key.width();
        let row = match (key, self.aggregates.width()) {
            (fluvial_memory::KeyWidth::Fixed(key), Some(state)) => Some(key + state),
            _ => None,
        };
        RowShape { key, row }
    }

    fn operator(self: Arc<Self>, context: &TaskContext) -> Result<Box<dyn Operator>> {
        // Without groups there is one result also for no rows; the worker that owns the empty key gives it.
        let owner = fluvial_memory::hash::target(fluvial_memory::hash::hash_bytes(&[]), context.workers);
        let empty = match self.key_columns.is_empty() && owner == context.worker {
            true => Some(Batch::table(RecordBatch::try_new(self.schema.clone(), self.aggregates.finish_empty())?)),
            false => None,
        };
        let (width, aggregates) = (self.key.width(), self.aggregates.clone());
        let finish = move |rows: &RowBatch| self.finish(rows);
        Ok(Box::new(AggregateOperator::open(width, aggregates, finish, context)?.or_if_empty(empty)))
    }

    fn finish(&self, rows: &RowBatch) -> Result<Batch> {
        let mut columns = self.key.decode((0..rows.len()).map(|i| rows.key(i)))?;
        columns.extend(self.aggregates.finish(rows)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(Batch::table(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?))
    }
}

/// The end of a table's chain in front of a grouping: aggregates what it can before rows cross workers.
struct TableCombine {
    plan: Arc<GroupPlan>,
    combine: Combine<ColumnAggregates>,
    keys: Keys,
    rows: RowBatch,
    hashes: Vec<u64>,
    ended: bool,
}

impl TableCombine {
    fn open(plan: &Arc<GroupPlan>, context: &TaskContext) -> Result<Self> {
        let reservation = context.reserve(least::COMBINE)?;
        let combine = Combine::new(reservation, plan.key.width(), plan.aggregates.clone(), CombineOptions::default());
        let rows = RowBatch::new(RowShape { key: plan.key.width(), row: None });
        Ok(Self { plan: plan.clone(), combine, keys: Keys::default(), rows, hashes: Vec::new(), ended: false })
    }

    fn take(&mut self, batch: &RecordBatch, context: &mut Context<'_>) -> Result<()> {
        let columns: Vec<ArrayRef> = self.plan.key_columns.iter().map(|&c| batch.column(c).clone()).collect();
        self.plan.key.encode(&columns, 0..batch.num_rows(), &mut self.keys)?;
        self.keys.hashes(&mut self.hashes);
        self.rows.clear();
        self.rows.push_keys(self.keys.iter());
        self.rows.set_hashes(std::mem::take(&mut self.hashes));
        let progress = self.combine.update_batch(&self.rows, batch.columns())?;
        if progress != Progress::Done {
            while self.pull(context)? == Progress::More {}
        }
        Ok(())
    }

    fn pull(&mut self, context: &mut Context<'_>) -> Result<Progress> {
        let mut out = RowBatch::new(self.combine.shape());
        let progress = self.combine.pull(&mut out, OUTPUT_ROWS);
        if !out.is_empty() {
            context.out.send(0, Batch::rows(out))?;
        }
        Ok(progress)
    }
}

impl Collector<RecordBatch> for TableCombine {
    fn push(&mut self, batch: RecordBatch, context: &mut Context<'_>) {
        if context.failed() {
            return;
        }
        if let Err(error) = self.take(&batch, context) {
            context.fail(error);
        }
    }

    fn end_batch(&mut self, _position: Option<Position>, _context: &mut Context<'_>) {}

    fn end_superstep(&mut self, context: &mut Context<'_>) -> Progress {
        let progress = self.finish(context);
        if progress == Progress::Done {
            self.ended = false;
        }
        progress
    }

    fn finish(&mut self, context: &mut Context<'_>) -> Progress {
        if !std::mem::replace(&mut self.ended, true) {
            self.combine.end();
        }
        loop {
            match self.pull(context) {
                Ok(Progress::Done) => return Progress::Done,
                Ok(_) if context.out.congested(0) => return Progress::More,
                Ok(_) => {}
                Err(error) => {
                    context.fail(error);
                    return Progress::Done;
                }
            }
        }
    }
}
