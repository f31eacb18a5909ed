use crate::data::{Frame, Labels};
use crate::pipeline::FEATURES;
use crate::prepare::{Transform, Transformer};
use crate::vector::{Block, Example, Row};
use fluvial_core::{Batch, Data, DataStream, Error, Operation, Operator, Output, Progress, Records, Result, Table};
use std::sync::Arc;

/// Something that learners take one record of after another: an [`Example`], or a [`Block`] of many.
pub trait Examples: Data {
    /// How many records there are.
    fn count(&self) -> usize;

    /// Features of a record.
    fn features(&self, i: usize) -> Row<'_>;

    /// Label of a record; not a number where there is none.
    fn label(&self, i: usize) -> f64;
}

impl Examples for Example {
    #[inline]
    fn count(&self) -> usize {
        1
    }
    #[inline]
    fn features(&self, _i: usize) -> Row<'_> {
        self.features.row()
    }
    #[inline]
    fn label(&self, _i: usize) -> f64 {
        self.label
    }
}

impl Examples for Block {
    #[inline]
    fn count(&self) -> usize {
        self.len()
    }
    #[inline]
    fn features(&self, i: usize) -> Row<'_> {
        self.rows.row(i)
    }
    #[inline]
    fn label(&self, i: usize) -> f64 {
        Block::label(self, i)
    }
}

/// A row of so many features and its label, without anything on the heap: what streams of dense records are fastest with.
impl<const N: usize> Examples for ([f64; N], f64)
where
    Self: Data,
{
    #[inline]
    fn count(&self) -> usize {
        1
    }
    #[inline]
    fn features(&self, _i: usize) -> Row<'_> {
        Row::Dense(&self.0)
    }
    #[inline]
    fn label(&self, _i: usize) -> f64 {
        self.1
    }
}

/// Streams of blocks over several workers.
pub trait DealBlocks {
    /// Blocks of at most so many rows, dealt out to the workers in turn: also a short table gives each of them its share.
    ///
    /// ```
    /// use fluvial_ml::{DealBlocks, Drift, ServerStatistics};
    /// let env = fluvial_core::Env::default();
    /// let whole = ServerStatistics::new(1, Drift::None).block(0..1000)?;
    /// let blocks = env.from_collection([whole]).deal(64).collect()?;
    /// assert_eq!((blocks.len(), blocks.iter().map(|b| b.len()).sum::<usize>()), (16, 1000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    fn deal(&self, rows: usize) -> DataStream<Block>;
}

impl DealBlocks for DataStream<Block> {
    fn deal(&self, rows: usize) -> DataStream<Block> {
        let rows = rows.max(1);
        let cut = Operation::new("cut").detail(format!("{rows} rows")).input(self);
        cut.add(self.env(), move |_| Ok(Box::new(Cut(rows)))).rebalance()
    }
}

/// Cuts blocks into pieces, each a batch of its own: batches are what is dealt out.
struct Cut(usize);

impl Operator for Cut {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        for block in batch.typed_records::<Block>()? {
            for first in (0..block.len()).step_by(self.0) {
                out.send(0, Batch::typed(vec![block.slice(first, (first + self.0).min(block.len()))]))?;
            }
        }
        Ok(Progress::Done)
    }
}

/// Tables as streams of blocks.
pub trait FeatureBlocks {
    /// Prepares each batch with fitted stages, the last of which gives the column [`FEATURES`], and reads the labels.
    ///
    /// # Errors
    /// While the job runs: a column that is not there or of the wrong kind.
    fn blocks(&self, columns: &[String], label: Option<(&str, Labels)>, transforms: Vec<Transform>) -> DataStream<Block>;

    /// The columns of these names as frames, batch by batch; all without names.
    ///
    /// # Errors
    /// While the job runs: a column that is not there, or of a type that learners do not take.
    fn frames(&self, columns: Option<Vec<String>>) -> DataStream<Frame>;
}

impl FeatureBlocks for Table {
    fn blocks(&self, columns: &[String], label: Option<(&str, Labels)>, transforms: Vec<Transform>) -> DataStream<Block> {
        let mut names = columns.to_vec();
        let label = label.map(|(column, labels)| (column.to_owned(), labels));
        names.extend(label.iter().map(|(column, _)| column.clone()).filter(|c| !columns.contains(c)));
        let detail = format!("{} features", columns.len());
        let convert = move |mut frame: Frame| -> crate::Result<Block> {
            transforms.iter().try_for_each(|t| t.transform(&mut frame))?;
            let labels = label.as_ref().map(|(column, labels)| labels.read(&frame, column)).transpose()?;
            Block::new(frame.vectors(FEATURES)?.clone(), labels.unwrap_or_default())
        };
        convert_batches("blocks", detail, self, Some(names), convert)
    }

    fn frames(&self, columns: Option<Vec<String>>) -> DataStream<Frame> {
        convert_batches("frames", String::new(), self, columns, Ok)
    }
}

fn convert_batches<U: Data>(
    kind: &'static str,
    detail: String,
    table: &Table,
    columns: Option<Vec<String>>,
    convert: impl Fn(Frame) -> crate::Result<U> + Send + Sync + 'static,
) -> DataStream<U> {
    let convert = Arc::new(convert);
    Operation::new(kind).detail(detail).table(table).add(table.env(), move |_| {
        let convert = convert.clone();
        let columns = columns.clone();
        Ok(Box::new(Convert(move |frame| convert(frame), columns)))
    })
}

/// One record out for each batch.
struct Convert<F>(F, Option<Vec<String>>);

impl<U: Data, F: Fn(Frame) -> crate::Result<U>> Operator for Convert<F> {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let Records::Table(records) = batch.records else {
            return Err(Error::Plan(format!("expected columns, got {:?}", batch.records)));
        };
        let frame = Frame::from_batch(&records, self.1.as_deref())?;
        out.send(0, Batch::typed(vec![(self.0)(frame)?]))?;
        Ok(Progress::Done)
    }
}
