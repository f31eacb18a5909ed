//! Operations on a table's rows as they are: the first ones, numbers, how they are spread, all pairs; and its columns' names.

use super::{Table, columns_of, parse_columns, schema_of, table_batch};
use crate::blocking::{CrossOperator, FirstOfWorker, PlaceCount, RowFormat, TableRows, counting, cut_table, least, numbering};
use crate::exchange::TableToRows;
use crate::graph::{Body, Distribution, OperatorFactory, Timing};
use crate::stream::{CountOperator, DataStream};
use crate::{Batch, Error, Operator, Output, Progress, Records, Result};
use arrow_array::{RecordBatch, RecordBatchOptions, UInt64Array};
use arrow_schema::{DataType, Field, SchemaRef};
use fluvial_memory::{KeyColumn, KeyEncoder, RowCodec};
use fluvial_operators::JoinedBatch;
use std::sync::Arc;

impl Table {
    /// At most `count` rows: of an ordered table the first ones, in order.
    ///
    /// # Errors
    /// [`Error::Plan`] if the rows cannot be serialized.
    ///
    /// ```
    /// # use arrow_array::{Int64Array, RecordBatch};
    /// # let env = fluvial_core::Env::default();
    /// # let column = Int64Array::from(vec![3, 1, 2]);
    /// # let batch = RecordBatch::try_from_iter([("n", std::sync::Arc::new(column) as arrow_array::ArrayRef)]).unwrap();
    /// # let table = env.from_batches(batch.schema(), vec![batch])?;
    /// assert_eq!(table.sort("n")?.limit(2)?.count()?, 2);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn limit(&self, count: u64) -> Result<Table> {
        let make: OperatorFactory = Arc::new(move |_| {
            let operator: Box<dyn Operator> = Box::new(FirstOfWorker::new(count, cut_table));
            Ok(operator)
        });
        let of_worker = self.operator("first", format!("{count} of each worker"), self.schema.clone(), make);
        of_worker.numbered("limit", count.to_string(), self.schema.clone(), move |batch, first| {
            let left = count.saturating_sub(first).min(batch.len() as u64);
            cut_table(batch, left as usize)
        })
    }

    /// Adds a column of numbers from 0, without gaps: in an ordered table in its order. The rows wait in memory and on disk
    /// until all are there.
    ///
    /// # Errors
    /// [`Error::Plan`] if there is a column of that name.
    ///
    /// ```
    /// # use arrow_array::{Int64Array, RecordBatch};
    /// # let env = fluvial_core::Env::default();
    /// # let column = Int64Array::from(vec![3, 1, 2]);
    /// # let batch = RecordBatch::try_from_iter([("n", std::sync::Arc::new(column) as arrow_array::ArrayRef)]).unwrap();
    /// # let table = env.from_batches(batch.schema(), vec![batch])?;
    /// let ranked = table.sort("n desc")?.zip_with_index("rank")?;
    /// assert_eq!(ranked.schema().field(1).name(), "rank");
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn zip_with_index(&self, name: &str) -> Result<Table> {
        let mut fields: Vec<Field> = self.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.push(Field::new(name, DataType::UInt64, false));
        let schema = schema_of(fields, &self.schema)?;
        let made = schema.clone();
        self.numbered("zip_with_index", name.to_owned(), schema, move |batch, first| {
            let position = batch.position;
            let records = table_batch(batch)?;
            let numbers = UInt64Array::from_iter_values(first..first + records.num_rows() as u64);
            let mut columns = records.columns().to_vec();
            columns.push(Arc::new(numbers));
            let mut batch = Batch::table(RecordBatch::try_new(made.clone(), columns)?);
            batch.position = position;
            Ok(batch)
        })
    }

    fn numbered(
        &self,
        kind: &'static str,
        detail: String,
        schema: SchemaRef,
        number: impl Fn(Batch, u64) -> Result<Batch> + Clone + Send + Sync + 'static,
    ) -> Result<Table> {
        let counts = self.env.add(self.after("count", String::new(), Body::Operator(counting())));
        let counts = DataStream::<PlaceCount>::new(&self.env, counts);
        let codec = RowCodec::new(self.schema.clone(), None)?;
        let make = numbering(move || TableRows::new(codec.clone()), number);
        let mut node = self.after(kind, detail, Body::Operator(make)).reserves(least::GROUPING).timing(Timing::AtTheEnd);
        node.inputs.push(counts.input_by(Distribution::Broadcast));
        Ok(Table::new(&self.env, self.env.add(node), schema))
    }

    /// Brings rows that are equal in these columns to the same worker: `"l_orderkey, l_partkey"`.
    ///
    /// # Errors
    /// A column that is not there or is nested.
    ///
    /// ```
    /// # use arrow_array::{Int64Array, RecordBatch};
    /// # let env = fluvial_core::Env::default();
    /// # let column = Int64Array::from(vec![3, 1, 3]);
    /// # let batch = RecordBatch::try_from_iter([("n", std::sync::Arc::new(column) as arrow_array::ArrayRef)]).unwrap();
    /// # let table = env.from_batches(batch.schema(), vec![batch])?;
    /// assert_eq!(table.partition_by_hash("n")?.sort_partition("n")?.count()?, 3);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn partition_by_hash(&self, columns: &str) -> Result<Table> {
        let places = parse_columns(columns)?.iter().map(|c| self.column(c)).collect::<Result<Vec<_>>>()?;
        let keys: Vec<KeyColumn> = places.iter().map(|&c| KeyColumn::of(self.schema.field(c))).collect();
        let key = KeyEncoder::new(&keys)?;
        let codec = RowCodec::new(self.schema.clone(), Some((key.clone(), places.clone())))?;
        let decoding = codec.clone();
        let make: OperatorFactory = Arc::new(move |_| {
            let operator: Box<dyn Operator> = Box::new(Partitioned { format: TableRows::new(decoding.clone()) });
            Ok(operator)
        });
        let mut node = self.after("partition", String::new(), Body::Operator(make));
        node.inputs[0].distribution = Distribution::Hash {
            key: columns.to_owned(),
            partitioner: Arc::new(move || Box::new(TableToRows::new(codec.clone(), key.clone(), places.clone()))),
        };
        Ok(Table::new(&self.env, self.env.add(node), self.schema.clone()))
    }

    /// Every row beside every row of `right`, which each worker keeps whole, on disk if it is large.
    ///
    /// # Errors
    /// [`Error::Plan`] if both tables have a column of the same name.
    ///
    /// ```
    /// # use arrow_array::{Int64Array, RecordBatch};
    /// # let env = fluvial_core::Env::default();
    /// # let column = Int64Array::from(vec![3, 1, 3]);
    /// # let batch = RecordBatch::try_from_iter([("n", std::sync::Arc::new(column) as arrow_array::ArrayRef)]).unwrap();
    /// # let table = env.from_batches(batch.schema(), vec![batch])?;
    /// assert_eq!(table.cross(&table.rename("n", "m")?)?.count()?, 9);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn cross(&self, right: &Table) -> Result<Table> {
        let fields = self.schema.fields().iter().chain(right.schema.fields());
        let schema = schema_of(fields.map(|f| f.as_ref().clone()).collect(), &self.schema)?;
        let codecs = (RowCodec::new(self.schema.clone(), None)?, RowCodec::new(right.schema.clone(), None)?);
        let made = schema.clone();
        let make: OperatorFactory = Arc::new(move |context| {
            let schema = made.clone();
            let make = move |joined: &JoinedBatch, left: &TableRows, right: &TableRows| {
                let (left, right) = (left.codec.decode(&joined.left)?, right.codec.decode(&joined.right)?);
                let columns = left.columns().iter().chain(right.columns()).cloned().collect();
                let options = RecordBatchOptions::new().with_row_count(Some(joined.len()));
                Ok(Batch::table(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?))
            };
            let (left, right) = (TableRows::new(codecs.0.clone()), TableRows::new(codecs.1.clone()));
            let operator: Box<dyn Operator> = Box::new(CrossOperator::open(left, right, make, context)?);
            Ok(operator)
        });
        let mut node = self.after("cross", String::new(), Body::Operator(make)).reserves(least::CROSS).timing(Timing::AtTheEnd);
        node.piecewise = crate::graph::Piecewise::OneInput(&[true, true]);
        node.inputs.push(right.input_by(Distribution::Broadcast));
        node.build_input = Some(1);
        node.bounded &= right.known().0;
        node.estimate = None;
        Ok(Table::new(&self.env, self.env.add(node), schema))
    }

    /// The same table with one column under another name.
    ///
    /// # Errors
    /// A column that is not there, or a name that is taken.
    ///
    /// ```
    /// # use arrow_array::{Int64Array, RecordBatch};
    /// # let env = fluvial_core::Env::default();
    /// # let column = Int64Array::from(vec![3, 1, 3]);
    /// # let batch = RecordBatch::try_from_iter([("n", std::sync::Arc::new(column) as arrow_array::ArrayRef)]).unwrap();
    /// # let table = env.from_batches(batch.schema(), vec![batch])?;
    /// assert_eq!(table.rename("n", "number")?.schema().field(0).name(), "number");
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn rename(&self, column: &str, name: &str) -> Result<Table> {
        let at = self.column(column)?;
        let mut names: Vec<String> = self.schema.fields().iter().map(|f| f.name().clone()).collect();
        names[at] = name.to_owned();
        self.project((0..names.len()).collect(), names)
    }

    /// The table without these columns: `"l_comment, l_shipmode"`. A read then does not read them.
    ///
    /// # Errors
    /// A column that is not there, or none that is left.
    ///
    /// ```
    /// # use arrow_array::{Int64Array, RecordBatch};
    /// # let env = fluvial_core::Env::default();
    /// # let column = || std::sync::Arc::new(Int64Array::from(vec![3, 1, 3])) as arrow_array::ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("a", column()), ("b", column())]).unwrap();
    /// # let table = env.from_batches(batch.schema(), vec![batch])?;
    /// assert_eq!(table.drop_columns("a")?.schema().fields().len(), 1);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn drop_columns(&self, columns: &str) -> Result<Table> {
        let dropped = parse_columns(columns)?.iter().map(|c| self.column(c)).collect::<Result<Vec<_>>>()?;
        let fields = self.schema.fields().iter().enumerate();
        let kept: Vec<&str> = fields.filter(|(i, _)| !dropped.contains(i)).map(|(_, f)| f.name().as_str()).collect();
        if kept.is_empty() {
            return Err(Error::Plan(format!("drop_columns: nothing is left of {}", columns_of(&self.schema))));
        }
        self.narrow(&kept)
    }

    /// Runs the job that leads to this table and returns how many rows it has.
    ///
    /// # Errors
    /// The first error of any operator.
    pub fn count(&self) -> Result<u64> {
        // Of a read one column will do.
        let table = match self.schema.fields().first() {
            Some(first) if self.read.is_some() => self.narrow(&[first.name()])?,
            _ => self.clone(),
        };
        let count: OperatorFactory = Arc::new(|context| Ok(Box::new(CountOperator::new(context))));
        let node = table.env.add(table.after("count", String::new(), Body::Operator(count)));
        Ok(DataStream::<u64>::new(&table.env, node).collect()?.into_iter().sum())
    }
}

/// Makes rows that crossed workers into columns again. With one worker nothing is split, and columns come as they are.
struct Partitioned {
    format: TableRows,
}

impl Operator for Partitioned {
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        batch.position = None;
        let batch = match &batch.records {
            Records::Rows(rows) => self.format.decode(rows)?,
            _ => batch,
        };
        out.send(0, batch)?;
        Ok(Progress::Done)
    }
}
