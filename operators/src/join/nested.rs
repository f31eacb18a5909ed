//! The block-nested join: for a key that does not fit in memory even alone, where partitioning further does not help.
//!
//! As many build rows as fit are loaded, all probe rows are streamed past them, and so on until no build row is left. For
//! kinds that ask whether a probe row ever found a partner, one bit a row is carried from block to block in a spill
//! file of its own, so that the memory needed does not depend on the number of rows.

use super::emitter::Emitter;
use super::env::{Env, Merge};
use super::kind::{Roles, Side};
use super::pass::Spilled;
use super::table::Table;
use super::tables::{Probe, Sense, Tables, Unmatched};
use super::{FILL_BYTES, ROWS, Turn};
use fluvial_memory::{Error, KeyWidth, Result, RowShape, Run, RunReader, RunWriter, SEGMENT_SIZE, Step};

enum Stage {
    /// Build rows are loaded.
    Load,
    /// Probe rows are read.
    Fill,
    /// Their bits are read.
    Bits,
    /// Their results are emitted.
    Emit,
    /// The build rows without partners are emitted.
    Scan(Unmatched),
}

pub(crate) struct Nested {
    build: Side,
    roles: Roles,
    level: u32,
    merge: Merge,
    tables: Tables,
    build_reader: RunReader,
    /// The row that `build_reader` is at did not fit in the block before.
    left_over: bool,
    /// Rows in the block.
    loaded: u64,
    probe_run: Run,
    probe_reader: RunReader,
    /// Whether bits are needed at all.
    tracks: bool,
    bits: Vec<u8>,
    bits_before: Option<RunReader>,
    bits_after: Option<RunWriter>,
    /// No build rows are left for another block.
    last: bool,
    stage: Stage,
    blocks: u64,
}

impl Nested {
    pub(crate) fn new(env: &Env, task: Spilled, build: Side, level: u32) -> Result<Self> {
        let roles = Roles::new(env.kind, build);
        let probe_run = task.runs[build.other().index()].clone();
        let tracks = roles.probe_matched || roles.probe_unmatched;
        Ok(Self {
            build,
            roles,
            level,
            merge: env.merge(build),
            bits_after: tracks.then(|| bits_writer(env)).transpose()?,
            probe_reader: env.reader(&probe_run)?,
            build_reader: env.reader(&task.runs[build.index()])?,
            tables: Tables { bits: 0, tables: vec![Some(Table::new(&env.reservation, env.stored(build), level, 0))] },
            left_over: false,
            loaded: 0,
            probe_run,
            tracks,
            bits: Vec::new(),
            bits_before: None,
            last: false,
            stage: Stage::Load,
            blocks: 0,
        })
    }

    /// Blocks so far.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// A bounded amount of work.
    pub(crate) fn step(&mut self, env: &Env, probe: &mut Probe, out: &mut Emitter<'_>) -> Result<Turn> {
        match &mut self.stage {
            Stage::Load => self.load(env),
            Stage::Fill => self.fill(env, probe),
            Stage::Bits => {
                if let Some(before) = &mut self.bits_before {
                    match before.advance()? {
                        Step::Row => self.bits.extend_from_slice(before.row()),
                        Step::Waiting => return Ok(Turn::Waiting),
                        Step::End => {}
                    }
                }
                self.bits.resize(probe.len().div_ceil(8), 0);
                self.stage = Stage::Emit;
                Ok(Turn::Again)
            }
            Stage::Emit => {
                let mut sense = Sense {
                    roles: self.roles,
                    build: self.build,
                    build_form: env.stored(self.build),
                    probe_form: env.stored(self.build.other()),
                    found: self.tracks.then_some(&mut self.bits[..]),
                    last: self.last,
                };
                probe.emit(&mut self.tables, &mut sense, out);
                if !probe.is_done() {
                    return Ok(Turn::Full);
                }
                probe.clear();
                if let Some(after) = self.bits_after.as_mut().filter(|_| !self.last) {
                    after.push(&self.bits)?;
                }
                self.bits.clear();
                self.stage = Stage::Fill;
                Ok(Turn::Again)
            }
            Stage::Scan(unmatched) => {
                let form = env.stored(self.build);
                if self.roles.build_unmatched && !unmatched.emit(&self.tables, self.build, form, out) {
                    return Ok(Turn::Full);
                }
                if self.last {
                    return Ok(Turn::Done);
                }
                self.next_block(env)?;
                Ok(Turn::Again)
            }
        }
    }

    fn load(&mut self, env: &Env) -> Result<Turn> {
        let Some(table) = &mut self.tables.tables[0] else { return Ok(Turn::Done) };
        for _ in 0..ROWS {
            if !self.left_over {
                match self.build_reader.advance()? {
                    Step::Row => {}
                    Step::Waiting => return Ok(Turn::Waiting),
                    Step::End => {
                        self.last = true;
                        self.blocks += 1;
                        self.stage = Stage::Fill;
                        return Ok(Turn::Again);
                    }
                }
            }
            self.left_over = table.insert_growing(&env.reservation, self.build_reader.row(), self.merge).is_none();
            if self.left_over {
                if self.loaded == 0 {
                    return Err(Error::RecordTooLarge {
                        operator: env.reservation.operator().to_owned(),
                        record: self.build_reader.row().len(),
                        available: (env.reservation.held() - env.reservation.used()) * SEGMENT_SIZE,
                    });
                }
                self.blocks += 1;
                self.stage = Stage::Fill;
                return Ok(Turn::Again);
            }
            self.loaded += 1;
        }
        Ok(Turn::Again)
    }

    /// Takes probe rows: always the same ones together, as their bits are.
    fn fill(&mut self, env: &Env, probe: &mut Probe) -> Result<Turn> {
        let form = env.stored(self.build.other());
        while probe.len() < ROWS && probe.byte_len() < FILL_BYTES {
            match self.probe_reader.advance()? {
                Step::Row => {
                    let row = self.probe_reader.row();
                    probe.push(row, env.mixed(form.key(row), self.level));
                }
                Step::Waiting => return Ok(Turn::Waiting),
                Step::End if probe.len() == 0 => {
                    self.stage = Stage::Scan(Unmatched::default());
                    return Ok(Turn::Again);
                }
                Step::End => break,
            }
        }
        self.stage = if self.tracks { Stage::Bits } else { Stage::Emit };
        Ok(Turn::Again)
    }

    /// Readers are opened before rows are loaded, so that these leave them their buffers.
    fn next_block(&mut self, env: &Env) -> Result<()> {
        self.tables.tables.iter_mut().flatten().for_each(Table::clear);
        self.loaded = 0;
        self.probe_reader = env.reader(&self.probe_run)?;
        if let Some(after) = self.bits_after.take() {
            self.bits_before = Some(env.reader(&after.finish()?)?);
            self.bits_after = Some(bits_writer(env)?);
        }
        self.stage = Stage::Load;
        Ok(())
    }
}

fn bits_writer(env: &Env) -> Result<RunWriter> {
    let shape = RowShape { key: KeyWidth::Fixed(0), row: None };
    let buffer = env.reservation.alloc().ok_or_else(|| env.too_small())?;
    env.spill.writer_with(
        env.reservation.operator(),
        shape,
        "bits of matched rows",
        &env.reservation,
        vec![buffer],
        env.waker.clone(),
    )
}
