//! Drives a [`Source`]: polls it while its outputs have room, moves its capability with its watermark.

use super::failure::guard;
use super::instance::Instance;
use super::job::flatten;
use super::time::Time;
use crate::{Progress, Result, Source};
use std::time::Instant;

/// Polls an activation.
const FUEL: usize = 16;

pub(super) struct SourceHarness {
    pub instance: Instance,
    pub source: Option<Box<dyn Source>>,
    stopped: bool,
    done: bool,
}

impl Drop for SourceHarness {
    /// A worker that dies in the middle of a job drops what it runs.
    fn drop(&mut self) {
        self.discard();
    }
}

impl SourceHarness {
    pub(super) fn new(instance: Instance, source: Option<Box<dyn Source>>) -> Self {
        Self { instance, source, stopped: false, done: false }
    }

    /// One activation. True while the instance must be kept.
    pub(super) fn activate(&mut self) -> bool {
        self.instance.begin();
        if self.instance.job.aborted() {
            self.discard();
            return false;
        }
        let start = Instant::now();
        if let Err(error) = self.run() {
            self.instance.fail(error);
            self.discard();
            return false;
        }
        self.instance.end(start);
        !self.instance.committed()
    }

    fn run(&mut self) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let Some(source) = self.source.as_deref_mut() else { return Ok(()) };
        let instance = &mut self.instance;
        if instance.job.stopping() && !self.stopped {
            self.stopped = true;
            flatten(guard(|| {
                source.stop();
                Ok(())
            }))?;
        }
        for _ in 0..FUEL {
            if instance.blocked() {
                return Ok(());
            }
            match flatten(guard(|| source.poll(&mut instance.outlets)))? {
                Progress::More => {}
                Progress::Waiting => {
                    instance.outlets.flush()?;
                    return instance.advance(Time::new(0, 0, source.watermark()));
                }
                Progress::Done => {
                    self.done = true;
                    self.source = None;
                    instance.outlets.flush()?;
                    instance.outlets.close();
                    instance.finished();
                    return Ok(());
                }
            }
        }
        instance.again();
        instance.advance(Time::new(0, 0, source.watermark()))
    }

    fn discard(&mut self) {
        if let Some(mut source) = self.source.take() {
            // The job has its error; another one of this source would not be shown.
            let _ = guard(|| {
                source.abort();
                drop(source);
            });
        }
        self.instance.outlets.close();
    }
}
