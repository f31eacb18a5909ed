//! `count(distinct ..)`, any number of them in one grouping, beside other aggregates.
//!
//! The values of all counted columns become rows of one table, `[groups][which column][value]`: a row for each column of
//! each row, where columns of one type share a place. A first aggregation keeps each of these once; a second counts them
//! by the groups. The other aggregates have an aggregation of their own, whose results take part in the second one, each
//! the only one of its group, so that nothing is joined. Whatever the number of columns, that is three aggregations, and
//! the memory of three.

use super::{AggregateSpec, Function, Grouped, Table, schema_of};
use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, Field, SchemaRef};
use std::sync::Arc;

impl Grouped {
    /// The groups with these aggregates, of which some count distinct values.
    pub(super) fn count_distinct(&self, specs: &[AggregateSpec]) -> Result<Table> {
        let (counting, rest): (Vec<_>, Vec<_>) = specs.iter().partition(|s| s.function == Function::CountDistinct);
        let counted = Counted::new(self, specs, &counting)?;
        let mut table = self.marks(&counted)?;
        let mut finals = Vec::new();
        let mut others = Vec::new();
        if !rest.is_empty() {
            let rest: Vec<AggregateSpec> = rest.into_iter().cloned().collect();
            let results = self.of(&rest)?;
            others = results.schema.fields()[self.by.len()..].to_vec();
            // Before and after these there are nulls where the other side has its columns.
            let nullable: Vec<Field> = others.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
            let groups = results.schema.fields()[..self.by.len()].iter().map(|f| f.as_ref().clone());
            let fields = groups.chain(nullable.clone()).chain(counted.mark_fields()).collect();
            let schema = schema_of(fields, &results.schema)?;
            let (at, types) = (self.by.len(), nullable.iter().map(|f| f.data_type().clone()).collect());
            table = table.with_nulls(at, types, schema.clone()).union(&results.with_nulls(
                schema.fields().len() - counted.columns.len(),
                vec![DataType::Boolean; counted.columns.len()],
                schema,
            ))?;
            // One value a group, or null: the largest is that.
            finals.extend(rest.iter().map(|s| s.over(Function::Max, &s.name)));
        }
        for spec in counting {
            let column = counted.columns.iter().position(|c| Some(c) == spec.column.as_ref());
            finals.extend(column.map(|c| spec.over(Function::Count, &counted.marks[c])));
        }
        let counts = Self { table, by: self.by.clone() }.of(&finals)?;
        counts.arranged(self.by.len(), specs, &others)
    }

    /// For each value of each counted column a row of each group that has it: the group, and the mark of the column if the
    /// value is not null.
    fn marks(&self, counted: &Counted) -> Result<Table> {
        let mut names: Vec<&str> = self.by.iter().map(String::as_str).collect();
        names.extend(counted.columns.iter().map(String::as_str).filter(|c| !self.by.iter().any(|b| b == c)));
        let source = self.table.narrow(&names)?;
        let groups = self.by.len();
        let from = counted.columns.iter().map(|c| source.column(c)).collect::<Result<Vec<_>>>()?;
        let fields = source.schema.fields()[..groups].iter().map(|f| f.as_ref().clone()).chain(counted.value_fields());
        let schema = schema_of(fields.collect(), &source.schema)?;
        let (making, made) = (counted.clone(), schema.clone());
        let detail = counted.columns.join(", ");
        let values = source.steps("expand", detail, schema.clone(), move || {
            let (counted, from, schema) = (making.clone(), from.clone(), made.clone());
            move |batch: RecordBatch, emit: &mut dyn FnMut(RecordBatch)| {
                for (which, &column) in from.iter().enumerate() {
                    let values = counted.values(which, batch.column(column));
                    let columns = batch.columns()[..groups].iter().cloned().chain(values).collect();
                    emit(RecordBatch::try_new(schema.clone(), columns)?);
                }
                Ok(())
            }
        });
        let by = schema.fields().iter().map(|f| f.name().clone()).collect();
        let distinct = Self { table: values, by }.of(&[])?.name("distinct");
        let fields = schema.fields()[..groups].iter().map(|f| f.as_ref().clone()).chain(counted.mark_fields());
        let schema = schema_of(fields.collect(), &schema)?;
        let (made, marking) = (schema.clone(), counted.clone());
        Ok(distinct.step("mark", String::new(), schema, move || {
            let (schema, counted) = (made.clone(), marking.clone());
            move |batch: RecordBatch| {
                let (groups, values) = batch.columns().split_at(groups);
                let columns = groups.iter().cloned().chain(counted.mark(values)).collect();
                Ok(RecordBatch::try_new(schema.clone(), columns)?)
            }
        }))
    }
}

/// The columns whose distinct values are counted.
#[derive(Clone)]
struct Counted {
    /// Each once.
    columns: Vec<String>,
    /// The types of the values; columns of one type share a place.
    types: Vec<DataType>,
    /// For each column, the place of its values.
    places: Vec<usize>,
    /// What is called what: the number of the column, the values by type, the marks by column.
    which: String,
    values: Vec<String>,
    marks: Vec<String>,
}

impl Counted {
    fn new(grouped: &Grouped, all: &[AggregateSpec], counting: &[&AggregateSpec]) -> Result<Self> {
        let mut columns: Vec<String> = Vec::new();
        for column in counting.iter().filter_map(|s| s.column.as_ref()) {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        let mut types: Vec<DataType> = Vec::new();
        let mut places = Vec::new();
        for column in &columns {
            let data_type = grouped.table.schema.field(grouped.table.column(column)?).data_type();
            if data_type.is_nested() {
                return Err(Error::Plan(format!("column `{column}` is nested ({data_type}); distinct values cannot be counted")));
            }
            places.push(types.iter().position(|t| t == data_type).unwrap_or_else(|| {
                types.push(data_type.clone());
                types.len() - 1
            }));
        }
        // Names that neither a column of the table has nor a result.
        let fresh = |name: String| {
            let mut name = name;
            while grouped.table.schema.field_with_name(&name).is_ok() || all.iter().any(|s| s.name == name) {
                name.push('\'');
            }
            name
        };
        Ok(Self {
            which: fresh("column".into()),
            values: (0..types.len()).map(|i| fresh(format!("value {i}"))).collect(),
            marks: columns.iter().map(|c| fresh(format!("distinct {c}"))).collect(),
            columns,
            types,
            places,
        })
    }

    /// Of one column alone it need not be said which it is.
    fn is_one(&self) -> bool {
        self.columns.len() == 1
    }

    fn value_fields(&self) -> impl Iterator<Item = Field> {
        let which = (!self.is_one()).then(|| Field::new(&self.which, DataType::UInt32, false));
        which.into_iter().chain(self.values.iter().zip(&self.types).map(|(n, t)| Field::new(n, t.clone(), true)))
    }

    fn mark_fields(&self) -> impl Iterator<Item = Field> {
        self.marks.iter().map(|name| Field::new(name, DataType::Boolean, true))
    }

    /// The value columns of rows of this column.
    fn values(&self, column: usize, values: &ArrayRef) -> Vec<ArrayRef> {
        let rows = values.len();
        let which: Option<ArrayRef> =
            (!self.is_one()).then(|| Arc::new(UInt32Array::from(vec![column as u32; rows])) as ArrayRef);
        let places = self.types.iter().enumerate().map(|(place, data_type)| match place == self.places[column] {
            true => values.clone(),
            false => new_null_array(data_type, rows),
        });
        which.into_iter().chain(places).collect()
    }

    /// The marks of these value columns: set or null.
    fn mark(&self, values: &[ArrayRef]) -> Vec<ArrayRef> {
        let rows = values[0].len();
        let (which, values) = match self.is_one() {
            true => (None, values),
            false => (Some(values[0].as_primitive::<UInt32Type>().values()), &values[1..]),
        };
        let mark = |(column, place): (usize, &usize)| -> ArrayRef {
            let valid = values[*place].logical_nulls();
            let here = |row: usize| which.is_none_or(|w| w[row] as usize == column);
            let set = BooleanBuffer::collect_bool(rows, |row| here(row) && valid.as_ref().is_none_or(|v| v.is_valid(row)));
            Arc::new(BooleanArray::new(BooleanBuffer::new_set(rows), Some(NullBuffer::new(set))))
        };
        self.places.iter().enumerate().map(mark).collect()
    }
}

impl AggregateSpec {
    /// The same result, by this function of this column.
    fn over(&self, function: Function, column: &str) -> Self {
        Self { function, column: Some(column.to_owned()), name: self.name.clone() }
    }
}

impl Table {
    /// This table with columns of nulls from `at` on.
    fn with_nulls(&self, at: usize, types: Vec<DataType>, schema: SchemaRef) -> Table {
        let made = schema.clone();
        self.step("widen", String::new(), schema, move || {
            let (types, schema) = (types.clone(), made.clone());
            move |batch: RecordBatch| {
                let mut columns = batch.columns().to_vec();
                columns.splice(at..at, types.iter().map(|t| new_null_array(t, batch.num_rows())));
                Ok(RecordBatch::try_new(schema.clone(), columns)?)
            }
        })
    }

    /// The aggregates in the order of `specs`, those among `others` with the fields that they have there.
    fn arranged(&self, groups: usize, specs: &[AggregateSpec], others: &[Arc<Field>]) -> Result<Table> {
        let mut places: Vec<usize> = (0..groups).collect();
        for spec in specs {
            places.push(self.column(&spec.name)?);
        }
        let field = |&place: &usize| {
            let field = self.schema.field(place);
            let other = others.iter().find(|o| o.name() == field.name());
            field.clone().with_nullable(other.map_or(field.is_nullable(), |o| o.is_nullable()))
        };
        let schema = schema_of(places.iter().map(field).collect(), &self.schema)?;
        let made = schema.clone();
        Ok(self.step("select", String::new(), schema, move || {
            let (places, schema) = (places.clone(), made.clone());
            move |batch: RecordBatch| {
                let columns = places.iter().map(|&p| batch.column(p).clone()).collect();
                let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
            }
        }))
    }
}
