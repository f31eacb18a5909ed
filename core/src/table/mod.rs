//! Tables: streams of Arrow record batches with a schema.
//!
//! Columns are named by short texts (see [`spec`]); filters and computed columns are closures over the record batch and
//! arrow's kernels. Blocking operations serialize batches to rows of `[normalized key][payload]` where they cross
//! workers, and give batches again.

mod columns;
mod distinct;
mod group;
mod join;
mod print;
mod rows;
mod scan;
mod sort;
mod source;
mod spec;
mod spool;
mod whole;
mod write;
mod write_text;

pub(crate) use columns::{Rows, type_columns};
pub use group::Grouped;
pub use join::{Join, JoinStrategy, JoinType};
pub use source::{Batches, TableParts};
pub use spec::{
    AggregateSpec, Function, Projection, SortKey, parse_aggregates, parse_columns, parse_join_on, parse_projection,
    parse_sort_keys,
};
pub use spool::Spool;
pub(crate) use write::Idle;

use crate::chain::{AnyCollector, BoxCollector, ChainOperator, Collector, Columns, Context, Link, TablePort, TryLink};
use crate::graph::{
    Body, Distribution, Estimate, GraphDescription, HeadFactory, Input, Node, NodeId, OperatorFactory, PortFactory, TaskContext,
    Timing,
};
use crate::runtime::BatchCodec;
use crate::stream::{Union, collect_batches};
use crate::{Batch, Env, Error, Records, Result};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// A table: a stream of record batches with a schema, bounded or not.
#[derive(Clone)]
pub struct Table {
    pub(crate) env: Env,
    pub(crate) node: NodeId,
    pub(crate) schema: SchemaRef,
    /// The read that this table is, while it is nothing more.
    read: Option<Arc<scan::Read>>,
}

impl Table {
    pub(crate) fn new(env: &Env, node: NodeId, schema: SchemaRef) -> Self {
        Self { env: env.clone(), node, schema, read: None }
    }

    /// The environment that the table is of.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Names the operation that gives this table, for messages, metrics and `explain`.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.env.graph().nodes[self.node].name = Some(name.to_owned());
        self
    }

    /// Gives the operation a stable id.
    #[must_use]
    pub fn uid(self, uid: &str) -> Self {
        self.env.graph().nodes[self.node].uid = Some(uid.to_owned());
        self
    }

    /// The graph that leads to this table.
    pub fn explain(&self) -> GraphDescription {
        self.env.describe(self.node)
    }

    /// Where a column stands.
    ///
    /// # Errors
    /// [`Error::Plan`] that names the column and those there are.
    pub fn column(&self, name: &str) -> Result<usize> {
        find_column(&self.schema, name)
    }

    /// Keeps these columns, in this order, under new names where given: `select("a, b as c")`.
    ///
    /// # Errors
    /// A column that is not there, or a name twice.
    pub fn select(&self, columns: &str) -> Result<Table> {
        let projection = parse_projection(columns)?;
        let names: Vec<_> = projection.iter().map(|p| p.column.as_str()).collect();
        let narrowed = self.narrow(&names)?;
        if projection.iter().all(|p| p.column == p.name) {
            return Ok(narrowed);
        }
        narrowed.project((0..names.len()).collect(), projection.into_iter().map(|p| p.name).collect())
    }

    /// The columns at these places, under these names.
    fn project(&self, indices: Vec<usize>, names: Vec<String>) -> Result<Table> {
        let fields = names.iter().zip(&indices).map(|(name, &i)| self.schema.field(i).clone().with_name(name));
        let schema = schema_of(fields.collect(), &self.schema)?;
        let made = schema.clone();
        Ok(self.step("select", names.join(", "), schema, move || {
            let (indices, made) = (indices.clone(), made.clone());
            move |batch: RecordBatch| {
                let columns = indices.iter().map(|&i| batch.column(i).clone()).collect();
                let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                Ok(RecordBatch::try_new_with_options(made.clone(), columns, &options)?)
            }
        }))
    }

    /// Keeps the rows for which `keep` gives true.
    pub fn filter(&self, keep: impl Fn(&RecordBatch) -> Result<BooleanArray> + Clone + Send + Sync + 'static) -> Table {
        self.step("filter", String::new(), self.schema.clone(), move || {
            let keep = keep.clone();
            move |batch: RecordBatch| Ok(arrow_select::filter::filter_record_batch(&batch, &keep(&batch)?)?)
        })
    }

    /// Adds a computed column, or replaces the one of that name.
    ///
    /// # Errors
    /// At run time, if the values' type is not `data_type`.
    pub fn with_column(
        &self,
        name: &str,
        data_type: DataType,
        compute: impl Fn(&RecordBatch) -> Result<ArrayRef> + Clone + Send + Sync + 'static,
    ) -> Table {
        let mut fields: Vec<Field> = self.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let at = fields.iter().position(|f| f.name() == name);
        let field = Field::new(name, data_type, true);
        match at {
            Some(at) => fields[at] = field,
            None => fields.push(field),
        }
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        let made = schema.clone();
        self.step("with_column", name.to_owned(), schema, move || {
            let (compute, made) = (compute.clone(), made.clone());
            move |batch: RecordBatch| {
                let mut columns = batch.columns().to_vec();
                let computed = compute(&batch)?;
                match at {
                    Some(at) => columns[at] = computed,
                    None => columns.push(computed),
                }
                Ok(RecordBatch::try_new(made.clone(), columns)?)
            }
        })
    }

    /// Any function from batch to batch that gives this schema.
    pub fn map_batches(
        &self,
        schema: SchemaRef,
        f: impl Fn(RecordBatch) -> Result<RecordBatch> + Clone + Send + Sync + 'static,
    ) -> Table {
        self.step("map_batches", String::new(), schema, move || f.clone())
    }

    /// The rows of both tables, in no particular order.
    ///
    /// # Errors
    /// [`Error::Plan`] if the columns' names or types differ.
    pub fn union(&self, other: &Table) -> Result<Table> {
        let same = self.schema.fields().len() == other.schema.fields().len()
            && self
                .schema
                .fields()
                .iter()
                .zip(other.schema.fields())
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if !same {
            return Err(Error::Plan(format!(
                "union: the columns differ: {} and {}",
                columns_of(&self.schema),
                columns_of(&other.schema)
            )));
        }
        // A column may be null in the result if it may be in either part.
        let fields = self.schema.fields().iter().zip(other.schema.fields());
        let fields =
            fields.map(|(a, b)| a.as_ref().clone().with_nullable(a.is_nullable() || b.is_nullable())).collect::<Vec<_>>();
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        let parts = [self, other].map(|t| t.with_schema(schema.clone()));
        let mut node = parts[0].after("union", String::new(), Body::Operator(Arc::new(|_| Ok(Box::new(Union)))));
        node.piecewise = crate::graph::Piecewise::Always;
        node.inputs.push(parts[1].input_by(Distribution::Forward));
        node.estimate = None;
        Ok(Table::new(&self.env, self.env.add(node), schema))
    }

    fn with_schema(&self, schema: SchemaRef) -> Table {
        if self.schema == schema {
            return self.clone();
        }
        let made = schema.clone();
        self.step("nullable", String::new(), schema, move || {
            let made = made.clone();
            move |batch: RecordBatch| Ok(batch.with_schema(made.clone())?)
        })
    }

    /// Runs the job that leads to this table and returns its batches; in order where the table has one.
    ///
    /// # Errors
    /// The first error of any operator.
    pub fn collect(&self) -> Result<Vec<RecordBatch>> {
        let codec = Arc::new(TableCodec { schema: self.schema.clone() });
        let batches = collect_batches(self.env.config().hosts.len(), codec, |body, distribution| {
            let mut node = self.after("collect", String::new(), body);
            node.inputs[0].distribution = distribution;
            node.outputs = 0;
            self.env.run("collect", &[self.env.add(node)])
        })?;
        batches.into_iter().map(table_batch).collect()
    }

    /// Runs the job that leads to this table and returns it as text, aligned in columns.
    ///
    /// # Errors
    /// The first error of any operator.
    pub fn to_text(&self) -> Result<String> {
        let batches = self.collect()?;
        let batches = if batches.is_empty() { vec![RecordBatch::new_empty(self.schema.clone())] } else { batches };
        Ok(arrow_cast::pretty::pretty_format_batches(&batches)?.to_string())
    }

    pub(crate) fn input_by(&self, distribution: Distribution) -> Input {
        Input { node: self.node, port: 0, distribution, codec: Some(Arc::new(TableCodec { schema: self.schema.clone() })) }
    }

    /// A node behind this table.
    pub(crate) fn after(&self, kind: &'static str, detail: String, body: Body) -> Node {
        let (bounded, estimate) = self.known();
        let inputs = vec![self.input_by(Distribution::Forward)];
        Node {
            kind,
            name: None,
            uid: None,
            detail,
            inputs,
            build_input: None,
            body,
            memory: 0,
            outputs: 1,
            sides: Vec::new(),
            feedback: Vec::new(),
            aware: false,
            piecewise: crate::graph::Piecewise::Never,
            timing: Timing::AsTheyCome,
            bounded,
            estimate,
        }
    }

    pub(crate) fn known(&self) -> (bool, Option<Estimate>) {
        let graph = self.env.graph();
        (graph.nodes[self.node].bounded, graph.nodes[self.node].estimate)
    }

    /// A batch-at-a-time step.
    fn step<F>(
        &self,
        kind: &'static str,
        detail: String,
        schema: SchemaRef,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Table
    where
        F: FnMut(RecordBatch) -> Result<RecordBatch> + 'static,
    {
        self.steps(kind, detail, schema, move || {
            let mut f = make();
            move |batch, emit: &mut dyn FnMut(RecordBatch)| {
                emit(f(batch)?);
                Ok(())
            }
        })
    }

    /// A step that makes any number of batches of each.
    fn steps<F>(
        &self,
        kind: &'static str,
        detail: String,
        schema: SchemaRef,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Table
    where
        F: FnMut(RecordBatch, &mut dyn FnMut(RecordBatch)) -> Result<()> + 'static,
    {
        let make = move |_: &TaskContext, next: AnyCollector| {
            let mut f = make();
            let step = TryLink(move |batch, next: &mut BoxCollector<RecordBatch>, context: &mut Context<'_>| {
                f(batch, &mut |batch| {
                    if batch.num_rows() > 0 {
                        next.push(batch, context);
                    }
                })
            });
            Ok(AnyCollector::new::<RecordBatch>(Link::new(step, next.into::<RecordBatch>()?)))
        };
        let body = Body::Link { make: Arc::new(make), head: table_head(), port: table_port(schema.clone()) };
        let node = self.after(kind, detail, body);
        Table::new(&self.env, self.env.add(node), schema)
    }

    pub(crate) fn operator(&self, kind: &'static str, detail: String, schema: SchemaRef, make: OperatorFactory) -> Table {
        let node = self.after(kind, detail, Body::Operator(make));
        Table::new(&self.env, self.env.add(node), schema)
    }
}

pub(crate) fn table_head() -> HeadFactory {
    Arc::new(|first| Ok(Box::new(ChainOperator::<RecordBatch, Columns>::new(first.into()?))))
}

pub(crate) fn table_port(schema: SchemaRef) -> PortFactory {
    Arc::new(move |port| AnyCollector::new::<RecordBatch>(TablePort::new(port, schema.clone())))
}

/// The record batch that a batch of a table holds.
pub(crate) fn table_batch(batch: Batch) -> Result<RecordBatch> {
    match batch.records {
        Records::Table(records) => Ok(records),
        other => Err(Error::Plan(format!("expected columns, got {other:?}"))),
    }
}

pub(crate) fn find_column(schema: &Schema, name: &str) -> Result<usize> {
    let found: Vec<_> = (0..schema.fields().len()).filter(|&i| schema.field(i).name() == name).collect();
    match found.as_slice() {
        [index] => Ok(*index),
        [] => Err(Error::Plan(format!("column `{name}` not found; there are {}", columns_of(schema)))),
        _ => Err(Error::Plan(format!("column `{name}` is there {} times; rename it first", found.len()))),
    }
}

pub(crate) fn columns_of(schema: &Schema) -> String {
    schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect::<Vec<_>>().join(", ")
}

/// # Errors
/// [`Error::Plan`] if a name is there twice.
pub(crate) fn schema_of(fields: Vec<Field>, before: &Schema) -> Result<SchemaRef> {
    for (i, field) in fields.iter().enumerate() {
        if fields[..i].iter().any(|f| f.name() == field.name()) {
            return Err(Error::Plan(format!("two columns would be called `{}`; give one another name with `as`", field.name())));
        }
    }
    Ok(Arc::new(Schema::new_with_metadata(fields, before.metadata().clone())))
}

/// Record batches between processes: Arrow's IPC stream of one batch.
struct TableCodec {
    schema: SchemaRef,
}

impl BatchCodec for TableCodec {
    fn encode(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
        let Records::Table(records) = &batch.records else {
            return Err(Error::Plan(format!("expected columns, got {:?}", batch.records)));
        };
        let mut writer = StreamWriter::try_new(out, &self.schema)?;
        writer.write(records)?;
        Ok(writer.finish()?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Batch> {
        let mut reader = StreamReader::try_new(bytes, None)?;
        match reader.next() {
            Some(batch) => Ok(Batch::table(batch?)),
            None => Ok(Batch::table(RecordBatch::new_empty(self.schema.clone()))),
        }
    }
}
