use super::{Table, parse_join_on, parse_projection, schema_of};
use crate::blocking::{TableRows, least, open_join};
use crate::exchange::TableToRows;
use crate::graph::{Body, Distribution, Node, OperatorFactory, Timing};
use crate::stream::DataStream;
use crate::{Batch, Config, Error, Result};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use fluvial_memory::{KeyColumn, KeyEncoder, RowCodec};
use fluvial_operators::{JoinKind, JoinOptions, JoinOutput, JoinedBatch, Side};
use std::sync::Arc;

/// Which rows a join keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinType {
    /// Pairs of rows that match.
    #[default]
    Inner,
    /// Pairs, and left rows without a match.
    Left,
    /// Pairs, and right rows without a match.
    Right,
    /// Pairs, and rows of both sides without a match.
    Full,
    /// Left rows that have a match, once each.
    Semi,
    /// Left rows that have none.
    Anti,
}

/// How a join runs. The answer is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinStrategy {
    /// By the estimated sizes: the smaller side is kept in memory, and broadcast if it is very small.
    #[default]
    Auto,
    /// Both sides spread by the hash of the key, the left one kept in memory.
    HashBuildLeft,
    /// Both sides spread by the hash of the key, the right one kept in memory.
    HashBuildRight,
    /// The left side sent whole to all workers; the right one stays where it is.
    BroadcastLeft,
    /// The right side sent whole to all workers; the left one stays where it is.
    BroadcastRight,
    /// Both sides spread by the hash of the key, sorted, and merged: for keys of which both sides have so many records that
    /// hashing is of no help. Takes 2080 KiB a worker at least, twice what a hash join does.
    SortMerge,
}

impl From<JoinType> for JoinKind {
    fn from(kind: JoinType) -> Self {
        match kind {
            JoinType::Inner => Self::Inner,
            JoinType::Left => Self::Left,
            JoinType::Right => Self::Right,
            JoinType::Full => Self::Full,
            JoinType::Semi => Self::LeftSemi,
            JoinType::Anti => Self::LeftAnti,
        }
    }
}

/// A join that is being described: finish it with [`Join::select`], [`Join::all`] or [`Join::count`].
#[derive(Clone)]
#[must_use = "a join does nothing before its columns are chosen"]
pub struct Join {
    left: Table,
    right: Table,
    on: Vec<(String, String)>,
    kind: JoinType,
    strategy: JoinStrategy,
    suffix: Option<String>,
}

impl Table {
    /// Joins this table (left) with another (right) where columns are equal: `"l_orderkey = o_orderkey"`. Nulls match nothing.
    ///
    /// # Errors
    /// A condition that does not parse, a column that is not there, or types that do not compare.
    pub fn join(&self, right: &Table, on: &str) -> Result<Join> {
        let on = parse_join_on(on)?;
        for (l, r) in &on {
            let (left, right) = (self.schema.field(self.column(l)?), right.schema.field(right.column(r)?));
            let nested = [left, right].into_iter().find(|f| f.data_type().is_nested());
            if let Some(field) = nested {
                return Err(Error::Plan(format!(
                    "column `{}` is nested ({}) and cannot be a key",
                    field.name(),
                    field.data_type()
                )));
            }
            if class(left.data_type()) != class(right.data_type()) {
                let (a, b) = (left.data_type(), right.data_type());
                return Err(Error::Plan(format!(
                    "join: `{l}` is {a} and `{r}` is {b}; they do not compare, cast one of them first"
                )));
            }
        }
        let (left, right) = (self.clone(), right.clone());
        Ok(Join { left, right, on, kind: JoinType::Inner, strategy: JoinStrategy::Auto, suffix: None })
    }
}

/// Types whose normalized keys are alike have the same class.
fn class(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => class(values),
        other => other.clone(),
    }
}

impl Join {
    /// Which rows are kept; inner by default.
    pub fn kind(mut self, kind: JoinType) -> Self {
        self.kind = kind;
        self
    }

    /// How it runs; chosen by the estimated sizes by default.
    pub fn strategy(mut self, strategy: JoinStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// A name for the right table: its columns get it as a prefix (`name.column`) where the left table has one of the same name.
    pub fn right_name(mut self, name: &str) -> Self {
        self.suffix = Some(name.to_owned());
        self
    }

    /// The joined table with all columns of both sides (of the left side alone for semi and anti joins).
    ///
    /// # Errors
    /// A name that both sides have, unless the right one has a [name](Join::right_name).
    pub fn all(self) -> Result<Table> {
        let mut columns = Vec::new();
        for side in self.sides() {
            for (column, field) in self.table(side).schema.fields().iter().enumerate() {
                let clash = side == Side::Right && self.left.schema.field_with_name(field.name()).is_ok();
                let name = match (&self.suffix, clash) {
                    (_, false) => field.name().clone(),
                    (Some(prefix), true) => format!("{prefix}.{}", field.name()),
                    (None, true) => {
                        return Err(Error::Plan(format!(
                            "join: both tables have a column `{}`; select the columns, or rename one of them first",
                            field.name()
                        )));
                    }
                };
                columns.push((side, column, name));
            }
        }
        self.table_of(columns)
    }

    /// The joined table with these columns: `"a, b as c"`. Only these are read and kept. A name that both sides have is the
    /// left one's; the right one's is written with the right table's [name](Join::right_name) in front.
    ///
    /// # Errors
    /// A column that is in neither table.
    pub fn select(self, columns: &str) -> Result<Table> {
        let chosen = parse_projection(columns)?.into_iter().map(|p| {
            let (side, column) = self.find(&p.column)?;
            Ok((side, column, p.name))
        });
        let chosen = chosen.collect::<Result<Vec<_>>>()?;
        self.table_of(chosen)
    }

    /// Like [`Join::select`] with the names one by one, each once; with none, the key's columns.
    ///
    /// # Errors
    /// As [`Join::select`].
    pub fn select_names(self, names: &[String]) -> Result<Table> {
        let mut wanted: Vec<String> = Vec::new();
        let keys: Vec<String> = self.on.iter().map(|(l, _)| l.clone()).collect();
        for name in if names.is_empty() { &keys } else { names } {
            if !wanted.contains(name) {
                wanted.push(name.clone());
            }
        }
        let chosen = wanted.into_iter().map(|name| self.find(&name).map(|(side, column)| (side, column, name)));
        let chosen = chosen.collect::<Result<Vec<_>>>()?;
        self.table_of(chosen)
    }

    /// Runs the join and returns how many rows it has, without making them: a key with millions of rows on both sides costs
    /// no more than reading it.
    ///
    /// # Errors
    /// The first error of any operator.
    pub fn count(self) -> Result<u128> {
        Ok(self.count_stream()?.collect()?.into_iter().sum())
    }

    /// The graph that [`Join::count`] runs.
    ///
    /// # Errors
    /// As [`Join::count`], before it runs.
    pub fn count_stream(self) -> Result<DataStream<u128>> {
        let env = self.left.env.clone();
        let node = self.node(Vec::new(), None)?;
        Ok(DataStream::new(&env, env.add(node)))
    }

    fn sides(&self) -> impl Iterator<Item = Side> + use<> {
        let right = !matches!(self.kind, JoinType::Semi | JoinType::Anti);
        [Side::Left].into_iter().chain(right.then_some(Side::Right))
    }

    fn table(&self, side: Side) -> &Table {
        if side == Side::Left { &self.left } else { &self.right }
    }

    fn find(&self, name: &str) -> Result<(Side, usize)> {
        for side in self.sides() {
            let bare = match (&self.suffix, side) {
                (Some(prefix), Side::Right) => name.strip_prefix(&format!("{prefix}.")).unwrap_or(name),
                _ => name,
            };
            if let Ok(column) = self.table(side).column(bare) {
                return Ok((side, column));
            }
        }
        let known: Vec<_> = self.sides().map(|s| super::columns_of(&self.table(s).schema)).collect();
        Err(Error::Plan(format!("column `{name}` not found; there are {}", known.join(", "))))
    }

    fn table_of(self, columns: Vec<(Side, usize, String)>) -> Result<Table> {
        let kind = JoinKind::from(self.kind);
        let fields = columns.iter().map(|(side, column, name)| {
            let field = self.table(*side).schema.field(*column);
            field.clone().with_name(name).with_nullable(field.is_nullable() || kind.may_miss(*side))
        });
        let schema = schema_of(fields.collect(), &Schema::empty())?;
        let env = self.left.env.clone();
        let node = self.node(columns.into_iter().map(|(s, c, _)| (s, c)).collect(), Some(schema.clone()))?;
        Ok(Table::new(&env, env.add(node), schema))
    }

    /// The join's node: reads are narrowed to the columns that the key or the result needs.
    fn node(self, columns: Vec<(Side, usize)>, schema: Option<SchemaRef>) -> Result<Node> {
        let keys = |side: Side| self.on.iter().map(move |(l, r)| if side == Side::Left { l.as_str() } else { r.as_str() });
        let needed = |side: Side| -> Result<Vec<String>> {
            let mut names: Vec<String> = Vec::new();
            let wanted =
                columns.iter().filter(|(s, _)| *s == side).map(|(_, c)| self.table(side).schema.field(*c).name().as_str());
            for name in keys(side).chain(wanted) {
                if !names.iter().any(|n| n == name) {
                    names.push(name.to_owned());
                }
            }
            Ok(names)
        };
        let narrowed = |side: Side| -> Result<Table> {
            let names = needed(side)?;
            self.table(side).narrow(&names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let tables = [narrowed(Side::Left)?, narrowed(Side::Right)?];
        let result = schema.map(|schema| {
            let place = |&(side, column): &(Side, usize)| -> Result<JoinedColumn> {
                let name = self.table(side).schema.field(column).name();
                Ok(JoinedColumn { side, column: tables[side as usize].column(name)? })
            };
            Ok::<_, Error>((schema, columns.iter().map(place).collect::<Result<Vec<_>>>()?))
        });
        let result = result.transpose()?;
        let key_fields = |side: Side| -> Result<Vec<(usize, Field)>> {
            let table = &tables[side as usize];
            keys(side).map(|k| table.column(k).map(|c| (c, table.schema.field(c).clone()))).collect()
        };
        let fields = [key_fields(Side::Left)?, key_fields(Side::Right)?];
        let plan = [Side::Left, Side::Right].map(|side| SidePlan::new(&tables[side as usize], &fields, side));
        let [left, right] = plan;
        let plans = [left?, right?];
        let estimates = [tables[0].known().1, tables[1].known().1];
        let kind = JoinKind::from(self.kind);
        let bytes = estimates.map(|e| e.map_or(f64::INFINITY, |e| e.bytes));
        let bytes = self.left.env.graph().sizes_for_join([tables[0].node, tables[1].node], bytes);
        let (build, broadcast) = self.strategy.choose(kind, bytes, self.left.env.config());
        let merge = self.strategy == JoinStrategy::SortMerge;
        let mut options = JoinOptions::new(kind, plans[0].codec.shape(), plans[1].codec.shape());
        options.build = build;
        let distributions = [Side::Left, Side::Right].map(|side| match (broadcast, side == build) {
            (true, true) => Distribution::Broadcast,
            (true, false) => Distribution::Forward,
            (false, _) => plans[side as usize].hash(),
        });
        let on = self.on.iter().map(|(l, r)| format!("{l} = {r}")).collect::<Vec<_>>().join(", ");
        let detail = format!("{on}; {}", self.strategy.describe(kind, build, broadcast));
        let bounded = tables.iter().all(|t| t.known().0);
        let inputs = tables.iter().zip(distributions).map(|(t, d)| t.input_by(d)).collect();
        options.output = if result.is_some() { JoinOutput::Rows } else { JoinOutput::CountOnly };
        let result = result.unwrap_or_else(|| (Arc::new(Schema::empty()), Vec::new()));
        let make: OperatorFactory = Arc::new(move |context| {
            let [left, right] = [0, 1].map(|side: usize| plans[side].rows());
            let (schema, columns) = result.clone();
            let make = move |joined: &JoinedBatch, left: &TableRows, right: &TableRows| {
                Ok(Batch::table(joined_batch(joined, left, right, &schema, &columns)?))
            };
            open_join(merge, options.clone(), left, right, make, context)
        });
        Ok(Node {
            kind: "join",
            name: None,
            uid: None,
            detail,
            inputs,
            build_input: (!merge).then_some(build as usize),
            body: Body::Operator(make),
            memory: self.strategy.least(),
            outputs: 1,
            sides: Vec::new(),
            feedback: Vec::new(),
            aware: false,
            piecewise: crate::graph::Piecewise::of_join(kind),
            timing: Timing::AtTheEnd,
            bounded,
            estimate: estimates[build.other() as usize],
        })
    }
}

impl JoinStrategy {
    /// The build side, and whether it is broadcast, of a join of inputs of so many bytes.
    pub(crate) fn choose(self, kind: JoinKind, bytes: [f64; 2], config: &Config) -> (Side, bool) {
        // Build rows without a partner must be emitted once, not once a worker.
        let may_broadcast = |build: Side| !kind.keeps_unmatched(build) && (kind.pairs() || !kind.emits(build));
        match self {
            Self::HashBuildLeft => (Side::Left, false),
            Self::HashBuildRight | Self::SortMerge => (Side::Right, false),
            Self::BroadcastLeft => (Side::Left, may_broadcast(Side::Left)),
            Self::BroadcastRight => (Side::Right, may_broadcast(Side::Right)),
            Self::Auto => {
                let build = if bytes[0] < bytes[1] { Side::Left } else { Side::Right };
                let small = bytes[build as usize] * 2.0 * config.threads as f64 <= config.memory as f64 / 16.0;
                (build, small && may_broadcast(build))
            }
        }
    }

    /// Segments that each worker reserves.
    pub(crate) fn least(self) -> usize {
        if self == Self::SortMerge { least::MERGE_JOIN } else { least::JOIN }
    }

    pub(crate) fn describe(self, kind: JoinKind, build: Side, broadcast: bool) -> String {
        if self == Self::SortMerge {
            return format!("{kind:?}, sorts both sides and merges them");
        }
        let how = if broadcast { "broadcasts the" } else { "hash, builds on the" };
        format!("{kind:?}, {how} {} side", if build == Side::Left { "left" } else { "right" })
    }
}

/// One side's rows.
struct SidePlan {
    codec: RowCodec,
    key: KeyEncoder,
    columns: Vec<usize>,
    names: String,
    nullable: bool,
}

impl SidePlan {
    /// Keys of both sides are encoded alike: nullable if either side's column is.
    fn new(table: &Table, fields: &[Vec<(usize, Field)>; 2], side: Side) -> Result<Self> {
        let own = &fields[side as usize];
        let both = fields[0].iter().zip(&fields[1]).zip(own);
        let columns: Vec<KeyColumn> = both
            .map(|(((_, l), (_, r)), (_, field))| {
                let mut column = KeyColumn::of(field);
                column.nullable = l.is_nullable() || r.is_nullable();
                column
            })
            .collect();
        let key = KeyEncoder::new(&columns)?;
        let places: Vec<usize> = own.iter().map(|(c, _)| *c).collect();
        let codec = RowCodec::new(table.schema.clone(), Some((key.clone(), places.clone())))?;
        let names = own.iter().map(|(_, f)| f.name().as_str()).collect::<Vec<_>>().join(", ");
        Ok(Self { codec, key, columns: places, names, nullable: own.iter().any(|(_, f)| f.is_nullable()) })
    }

    fn rows(&self) -> TableRows {
        TableRows { codec: self.codec.clone(), nullable: self.nullable }
    }

    fn hash(&self) -> Distribution {
        let (codec, key, columns) = (self.codec.clone(), self.key.clone(), self.columns.clone());
        Distribution::Hash {
            key: self.names.clone(),
            partitioner: Arc::new(move || Box::new(TableToRows::new(codec.clone(), key.clone(), columns.clone()))),
        }
    }
}

/// Where a column of the result comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct JoinedColumn {
    side: Side,
    column: usize,
}

fn joined_batch(
    joined: &JoinedBatch,
    left: &TableRows,
    right: &TableRows,
    schema: &SchemaRef,
    columns: &[JoinedColumn],
) -> Result<RecordBatch> {
    let mut arrays: Vec<Option<ArrayRef>> = vec![None; columns.len()];
    let sides = [
        (Side::Left, left, &joined.left, joined.left_missing.as_deref()),
        (Side::Right, right, &joined.right, joined.right_missing.as_deref()),
    ];
    for (side, format, rows, missing) in sides {
        let places: Vec<usize> = (0..columns.len()).filter(|&c| columns[c].side == side).collect();
        if places.is_empty() {
            continue;
        }
        let wanted: Vec<usize> = places.iter().map(|&c| columns[c].column).collect();
        let rows: Vec<&[u8]> = rows.iter().collect();
        for (place, array) in places.into_iter().zip(format.codec.decode_columns(&rows, &wanted, missing)?) {
            arrays[place] = Some(array);
        }
    }
    let arrays = arrays.into_iter().flatten().collect();
    let options = RecordBatchOptions::new().with_row_count(Some(joined.len()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
}
