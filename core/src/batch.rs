//! What flows along an edge: records, with optional event-time and change columns.

use arrow_array::RecordBatch;
use fluvial_memory::RowBatch;
use std::any::Any;
use std::fmt;

/// A batch of records on their way from one operator to another.
#[derive(Debug)]
pub struct Batch {
    /// The records.
    pub records: Records,
    /// Event time of each record, milliseconds UTC; absent where the stream has none.
    pub event_times: Option<Vec<i64>>,
    /// How each record changes the result; absent means that all are inserts.
    pub changes: Option<Vec<Change>>,
    /// Position in a globally ordered stream: batches compare by it, across workers. Set by a sort, kept by
    /// record-at-a-time steps, used by whatever must keep the order (files, `collect`, `limit`, `zip_with_index`).
    pub position: Option<Position>,
}

/// Where a batch stands in a globally ordered stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The range of the order that the batch belongs to; ranges are numbered from 0 without gaps.
    pub range: u64,
    /// The batch's number within the range.
    pub sequence: u64,
    /// Whether it is the last batch of its range.
    pub last: bool,
}

/// How a record changes a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Change {
    /// A new record.
    Insert = 0,
    /// The old value of a record that an `UpdateAfter` replaces.
    UpdateBefore = 1,
    /// The new value of a record.
    UpdateAfter = 2,
    /// The record is gone.
    Delete = 3,
}

/// The records of a batch, in one of three forms.
pub enum Records {
    /// Values of a Rust type: a `Vec<T>`.
    Typed(Box<dyn TypedRecords>),
    /// Columns.
    Table(RecordBatch),
    /// Serialized rows with their normalized keys.
    Rows(RowBatch),
}

/// A `Vec<T>` whose `T` is known to the operators at both ends of an edge.
pub trait TypedRecords: Any + Send {
    /// Number of records.
    fn len(&self) -> usize;
    /// Bytes of the records, without what they point to.
    fn byte_len(&self) -> usize;
    /// The same records once more, for a second edge or worker.
    fn duplicate(&self) -> Box<dyn TypedRecords>;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// For downcasting to `Vec<T>`.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    /// For downcasting to `&Vec<T>`.
    fn as_any(&self) -> &dyn Any;
}

impl<T: Clone + Send + 'static> TypedRecords for Vec<T> {
    fn len(&self) -> usize {
        self.len()
    }
    fn byte_len(&self) -> usize {
        std::mem::size_of_val(self.as_slice())
    }
    fn duplicate(&self) -> Box<dyn TypedRecords> {
        Box::new(self.clone())
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Batch {
    /// A batch of values without event times or changes.
    pub fn typed<T: Clone + Send + 'static>(records: Vec<T>) -> Self {
        Self::new(Records::Typed(Box::new(records)))
    }

    /// A batch of columns.
    pub fn table(records: RecordBatch) -> Self {
        Self::new(Records::Table(records))
    }

    /// A batch of serialized rows.
    pub fn rows(records: RowBatch) -> Self {
        Self::new(Records::Rows(records))
    }

    fn new(records: Records) -> Self {
        Self { records, event_times: None, changes: None, position: None }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        match &self.records {
            Records::Typed(records) => records.len(),
            Records::Table(batch) => batch.num_rows(),
            Records::Rows(rows) => rows.len(),
        }
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the records as they lie in memory, roughly: what typed records point to does not count, and columns count
    /// by the rows of this batch, not by the buffers that they share.
    pub fn byte_len(&self) -> usize {
        match &self.records {
            Records::Typed(records) => records.byte_len(),
            Records::Rows(rows) => rows.byte_len(),
            Records::Table(batch) => {
                let slice =
                    |c: &arrow_array::ArrayRef| c.to_data().get_slice_memory_size().unwrap_or_else(|_| c.get_array_memory_size());
                batch.columns().iter().map(slice).sum()
            }
        }
    }

    /// The same batch once more, for a second edge or worker. Columns are shared, values cloned.
    pub fn duplicate(&self) -> Self {
        let records = match &self.records {
            Records::Typed(records) => Records::Typed(records.duplicate()),
            Records::Table(batch) => Records::Table(batch.clone()),
            Records::Rows(rows) => Records::Rows(rows.clone()),
        };
        Self { records, event_times: self.event_times.clone(), changes: self.changes.clone(), position: self.position }
    }

    /// The values, if they are of type `T`.
    ///
    /// # Errors
    /// The batch itself, if it holds something else: a bug in the graph, not in the data.
    #[expect(clippy::result_large_err, reason = "the batch comes back only when the graph is wrong")]
    pub fn into_typed<T: 'static>(self) -> Result<Vec<T>, Self> {
        match self.records {
            Records::Typed(records) if records.as_any().is::<Vec<T>>() => {
                Ok(*records.into_any().downcast::<Vec<T>>().unwrap_or_else(|_| unreachable!("the type was just checked")))
            }
            records => Err(Self { records, ..self }),
        }
    }

    /// The values where they lie, if they are of type `T`; anything else is an error of the plan.
    ///
    /// # Errors
    /// The batch holds something else.
    pub fn typed_slice<T: 'static>(&self) -> crate::Result<&[T]> {
        let records = match &self.records {
            Records::Typed(records) => records.as_any().downcast_ref::<Vec<T>>(),
            _ => None,
        };
        let expected = || format!("expected typed records of `{}`, got {self:?}", std::any::type_name::<T>());
        records.map(Vec::as_slice).ok_or_else(|| crate::Error::Plan(expected()))
    }

    /// As [`Batch::into_typed`], where anything else is an error of the plan.
    ///
    /// # Errors
    /// The batch holds something else.
    pub fn typed_records<T: 'static>(self) -> crate::Result<Vec<T>> {
        self.into_typed::<T>()
            .map_err(|b| crate::Error::Plan(format!("expected typed records of `{}`, got {b:?}", std::any::type_name::<T>())))
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Typed(records) => write!(f, "{} typed records", records.len()),
            Self::Table(batch) => write!(f, "{} rows of {} columns", batch.num_rows(), batch.num_columns()),
            Self::Rows(rows) => write!(f, "{} serialized rows, {} bytes", rows.len(), rows.byte_len()),
        }
    }
}
