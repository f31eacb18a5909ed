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
