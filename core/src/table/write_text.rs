use super::table_batch;
use super::write::Countdown;
use crate::graph::TaskContext;
use crate::io::{Format, TextEncoder, TextFile, WriteOptions};
use crate::{Batch, Operator, Output, Progress, Result};
use arrow_schema::SchemaRef;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// One CSV, JSON lines or text file, written by all workers.
pub(super) struct WriteText {
    file: TextFile,
    encoder: Option<TextEncoder>,
    countdown: Arc<Countdown>,
}

impl WriteText {
    pub(super) fn open(
        path: &Path,
        format: &Format,
        schema: &SchemaRef,
        options: &WriteOptions,
        context: &TaskContext,
    ) -> Result<Self> {
        struct Opened(Mutex<Option<TextFile>>);
        let opened = context.shared(|| Opened(Mutex::new(None)));
        let mut slot = opened.0.lock().unwrap_or_else(|e| e.into_inner());
        let file = match slot.as_ref() {
            Some(file) => file.clone(),
            None => slot.insert(TextFile::create(path, format, schema.clone(), options)?).clone(),
        };
        let encoder = Some(file.encoder()?);
        let countdown = context.shared(|| Countdown::new(context.local_workers));
        Ok(Self { file, encoder, countdown })
    }
}

impl Operator for WriteText {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        let position = batch.position;
        let batch = table_batch(batch)?;
        if let Some(encoder) = &mut self.encoder {
            encoder.write(&batch, position)?;
        }
        Ok(Progress::Done)
    }

    fn finish(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        self.encoder.take().map_or(Ok(()), TextEncoder::close)?;
        Ok(Progress::Done)
    }

    fn commits(&self) -> bool {
        true
    }

    fn checkpoint_complete(&mut self, _epoch: u64) -> Result<()> {
        if self.countdown.arrive() {
            self.file.finish()?;
        }
        Ok(())
    }
}
