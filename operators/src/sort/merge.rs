use super::key::Keys;
use super::merger::{Input, Merger};
use super::runs::{SortStats, SortedWriter};
use super::set::{Holding, KeyRange, SortedSet, Source};
use fluvial_memory::{Error, Extent, Progress, Reservation, Result, RowBatch, RunReader, SEGMENT_SIZE, SpillManager, Waker};
use std::fmt;
use std::ops::Range;

/// Rows that an intermediate merge moves in one call.
const FUEL: usize = 1 << 14;

/// Gives the rows of a range of a [`SortedSet`] in order.
pub struct MergeReader {
    set: SortedSet,
    keys: Keys,
    range: KeyRange,
    reservation: Reservation,
    waker: Option<Waker>,
    /// What is left to merge, in order.
    sources: Vec<Source>,
    stage: Stage,
}

enum Stage {
    /// To find buffers for all sources, or for a merge of some.
    Plan,
    /// Merging neighbouring sources into one run that takes their place.
    Reduce(Box<Reduction>),
    Final {
        merger: Box<Merger>,
        _holding: Holding,
    },
    Done,
}

struct Reduction {
    merger: Merger,
    writer: SortedWriter,
    sources: Range<usize>,
    _holding: Holding,
}

impl MergeReader {
    pub(super) fn new(set: SortedSet, range: KeyRange, reservation: &Reservation, waker: Option<Waker>) -> Self {
        let mut sources = set.shared.sources.clone();
        sources.retain(|source| source.blocks(range).is_none_or(|(_, blocks)| !blocks.is_empty()));
        Self { keys: set.shared.keys, set, range, reservation: reservation.clone(), waker, sources, stage: Stage::Plan }
    }

    /// Gets buffers and begins to read, if that is possible now: a worker that prepares its next range while it merges one
    /// does not wait for the disk between them. Not needed otherwise.
    pub fn prepare(&mut self) {
        if matches!(self.stage, Stage::Plan) {
            // What cannot be had now is asked for again when the first row is.
            let _ = self.open_all();
        }
    }

    /// Appends rows to `out` until it has `max_rows` rows or `max_bytes` bytes (`More`), a block is being read or memory is
    /// awaited (`Waiting`), or the range is at its end (`Done`). What was appended counts in each case.
    ///
    /// # Errors
    /// Of reading or writing runs; [`Error::RecordTooLarge`] if there is not the memory to merge two runs.
    pub fn pull(&mut self, out: &mut RowBatch, max_rows: usize, max_bytes: usize) -> Result<Progress> {
        self.drive(|row, _| {
            out.push_row(row);
            Ok(out.len() < max_rows && out.byte_len() < max_bytes)
        })
    }

    /// What the sorts and merges of its set did so far.
    pub(super) fn stats(&self) -> SortStats {
        self.set.stats()
    }

    /// As [`MergeReader::pull`], into a function that gets the row with its prefix and says whether to go on.
    pub(super) fn drive(&mut self, mut sink: impl FnMut(&[u8], u128) -> Result<bool>) -> Result<Progress> {
        loop {
            match &mut self.stage {
                Stage::Plan => {
                    if !self.plan()? {
                        return Ok(Progress::Waiting);
                    }
                }
                Stage::Reduce(reduction) => {
                    let Reduction { merger, writer, .. } = &mut **reduction;
                    let mut fuel = FUEL;
                    if !writer.ready() {
                        return Ok(Progress::Waiting);
                    }
                    let progress = merger.drive(|row, prefix| {
                        writer.push(row, prefix)?;
                        fuel -= 1;
                        Ok(fuel > 0 && writer.ready())
                    })?;
                    match progress {
                        Progress::Done if writer.flush()? == Progress::Done || self.waker.is_none() => self.reduced()?,
                        Progress::More | Progress::Done if self.waker.is_none() => {}
                        Progress::Done => return Ok(Progress::Waiting),
                        other => return Ok(other),
                    }
                }
                Stage::Final { merger, .. } => {
                    let progress = merger.drive(&mut sink)?;
                    if progress == Progress::Done {
                        self.stage = Stage::Done;
                        self.sources.clear();
                    }
                    return Ok(progress);
                }
                Stage::Done => return Ok(Progress::Done),
            }
        }
    }

    /// Opens what memory there is for; `false` if it is awaited.
    fn plan(&mut self) -> Result<bool> {
        let ended = self.set.shared.ended();
        let found = match self.open_all() {
            Ok(()) => return Ok(true),
            Err(found) => found,
        };
        if let Some(spill) = &self.set.shared.spill
            && let Some(stage) = self.reduction(&spill.clone(), found)?
        {
            self.stage = stage;
            return Ok(true);
        }
        match self.set.shared.wait(ended, self.waker.as_ref()) {
            Some(again) => Ok(again),
            None => {
                let longest = self.sources.iter().filter_map(|s| s.blocks(self.range)).map(|(run, _)| run.run.max_row());
                Err(Error::RecordTooLarge {
                    operator: self.reservation.operator().to_owned(),
                    record: longest.max().unwrap_or(0),
                    available: (self.reservation.held() - self.reservation.used()) * SEGMENT_SIZE,
                })
            }
        }
    }

    /// Begins the last merge, if each source on disk can have a buffer; else gives how many could.
    fn open_all(&mut self) -> std::result::Result<(), usize> {
        let all = 0..self.sources.len();
        let Buffers { sizes, extents, found } = self.buffers(all.clone());
        let merger = self.open(all, &sizes, extents).ok_or(found)?;
        self.stage = Stage::Final { merger: Box::new(merger), _holding: Holding::new(&self.set) };
        Ok(())
    }

    /// Takes a buffer for each source in the range that is on disk, as far as the memory goes.
    fn buffers(&self, sources: Range<usize>) -> Buffers {
        let sizes: Vec<_> = self.sources[sources]
            .iter()
            .filter_map(|source| source.blocks(self.range))
            .map(|(run, blocks)| run.run.buffer_segments(blocks))
            .collect();
        let extents: Vec<_> = sizes.iter().map_while(|&segments| self.reservation.alloc_extent(segments)).collect();
        Buffers { found: extents.len(), sizes, extents }
    }

    /// A merge of a range of sources, if each that is on disk has a buffer.
    fn open(&self, sources: Range<usize>, sizes: &[usize], extents: Vec<Extent>) -> Option<Merger> {
        if extents.len() < sizes.len() {
            return None;
        }
        // Second buffers, for reading ahead, while they take no more than a share of the budget.
        let ahead = sizes.iter().sum::<usize>() <= self.reservation.limit() / 8;
        let mut extents = extents.into_iter().zip(sizes);
        let mut inputs = Vec::with_capacity(sources.len());
        for source in &self.sources[sources] {
            inputs.push(match source {
                Source::Memory(run) => Input::memory(run, self.range.from, self.range.to),
                Source::Spilled(run) => {
                    let (first, &segments) = extents.next()?;
                    let blocks = run.blocks(self.range.from, self.range.to);
                    let second = if ahead && blocks.len() > 1 { self.reservation.alloc_extent(segments) } else { None };
                    let buffers = std::iter::once(first).chain(second).collect();
                    Input::Spilled(RunReader::with_buffers(run.run.clone(), blocks, buffers, self.waker.clone()))
                }
            });
        }
        Some(Merger::new(self.keys, self.range.from, self.range.to, inputs))
    }

    /// Begins to merge neighbouring sources into one, given how many buffers could be had.
    ///
    /// Just as many as it takes for the rest to be merged in one go, or as many as possible; of those the ones with
    /// the least bytes.
    fn reduction(&self, spill: &SpillManager, found: usize) -> Result<Option<Stage>> {
        let on_disk: Vec<_> = self.sources.iter().enumerate().filter(|(_, s)| s.blocks(self.range).is_some()).collect();
        let Some(writer) = self.reservation.alloc_extent(1) else { return Ok(None) };
        let mut count = (on_disk.len() + 2).saturating_sub(found).clamp(2, found.saturating_sub(1).max(2));
        while count >= 2 {
            let weigh = |window: &&[(usize, &Source)]| -> u64 {
                let runs = window.iter().filter_map(|(_, source)| source.blocks(self.range));
                runs.map(|(run, blocks)| run.run.blocks()[blocks].iter().map(|b| u64::from(b.bytes)).sum::<u64>()).sum()
            };
            let Some(window) = on_disk.windows(count).min_by_key(weigh) else { return Ok(None) };
            let (Some(first), Some(last)) = (window.first(), window.last()) else { return Ok(None) };
            let sources = first.0..last.0 + 1;
            let level = window.iter().filter_map(|(_, s)| s.blocks(self.range)).map(|(run, _)| run.level).max().unwrap_or(0);
            let Buffers { sizes, extents, found } = self.buffers(sources.clone());
            if let Some(merger) = self.open(sources.clone(), &sizes, extents) {
                let larger = self.reservation.alloc_extent(spill.block_segments(&self.reservation));
                let writer = spill.writer_with(
                    self.reservation.operator(),
                    self.keys.shape(),
                    &self.set.shared.schema,
                    &self.reservation,
                    vec![larger.unwrap_or(writer)],
                    self.waker.clone(),
                )?;
                let (writer, _holding) = (SortedWriter::new(writer, level + 1), Holding::new(&self.set));
                return Ok(Some(Stage::Reduce(Box::new(Reduction { merger, writer, sources, _holding }))));
            }
            count = found.min(count - 1);
        }
        Ok(None)
    }

    /// An intermediate merge is complete: its run takes the place of what it merged.
    fn reduced(&mut self) -> Result<()> {
        if let Stage::Reduce(reduction) = std::mem::replace(&mut self.stage, Stage::Plan) {
            let Reduction { writer, sources, .. } = *reduction;
            let (run, _) = writer.finish()?;
            self.set.shared.count(SortStats { runs: 1, merges: 1, spilled_bytes: run.run.bytes(), ..SortStats::default() });
            self.sources.splice(sources, [Source::Spilled(run)]);
        }
        Ok(())
    }
}

/// Buffers for the sources that are on disk: the segments each needs, and those that could be had.
struct Buffers {
    sizes: Vec<usize>,
    extents: Vec<Extent>,
    found: usize,
}

impl fmt::Debug for MergeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergeReader").field("range", &self.range).field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}
