//! The hybrid hash join: takes rows, runs one pass after another, hands out results.

use super::emitter::Emitter;
use super::env::Env;
use super::fill::{from_early, from_run, take_probe_rows};
use super::joined::JoinedBatch;
use super::kind::Side;
use super::nested::Nested;
use super::options::{JoinOptions, JoinStats};
use super::pass::{Pass, Spilled};
use super::spool::{Spool, SpoolReader, SpoolStep, Spooled};
use super::tables::{Probe, Sense, Unmatched};
use super::{MINIMUM_SEGMENTS, ROWS, Turn};
use fluvial_memory::{Error, Progress, Reservation, Result, RowBatch, Run, RunReader, SpillManager, Step, Waker, hash};

/// Turns of work in one call.
const FUEL: usize = 64;

/// Spools, each of which may need a buffer when there is no memory: of early rows, and of null keys on either side.
const SPOOLS: usize = 3;

/// Level from which a partition is joined block by block, whatever its keys.
const DEEPEST: u32 = 8;

/// The hybrid hash join.
///
/// Push both sides in any order and say when a side has ended; pull from when the build side has ended. Whoever brings
/// the build side first saves the probe side a way over the disk. After each push to the probe side, pull until
/// [`Progress::Done`].
///
/// It needs a reservation of at least [`MINIMUM_SEGMENTS`] segments, uses what the pool gives beyond that, and writes to
/// disk what does not fit.
///
/// ```
/// use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape, SpillConfig, SpillManager};
/// use fluvial_operators::{HashJoin, JoinKind, JoinOptions, JoinedBatch, MINIMUM_JOIN_SEGMENTS, Side};
///
/// let memory = MemoryManager::new(4 << 20)?;
/// let spill = SpillManager::new(SpillConfig::default())?;
/// let shape = RowShape::fixed(1, 3);
/// let options = JoinOptions::new(JoinKind::Left, shape, shape);
/// let mut out = JoinedBatch::new(options.kind, shape, shape);
/// let mut join = HashJoin::new(memory.reserve("join", MINIMUM_JOIN_SEGMENTS)?, spill, options, None)?;
///
/// let mut rows = RowBatch::new(shape);
/// rows.push(b"1", b"one");
/// join.push(Side::Right, &rows, None)?;
/// join.end(Side::Right)?;
/// rows.push(b"2", b"two");
/// join.push(Side::Left, &rows, None)?;
/// join.end(Side::Left)?;
///
/// let mut results = Vec::new();
/// loop {
///     let progress = join.pull(&mut out, 1000)?;
///     for i in 0..out.len() {
///         let partner = !out.right_missing.as_ref().is_some_and(|missing| missing[i]);
///         results.push((out.left.row(i).to_vec(), partner.then(|| out.right.row(i).to_vec())));
///     }
///     if progress == Progress::Done {
///         break;
///     }
/// }
/// results.sort();
/// assert_eq!(results, [(b"1one".to_vec(), Some(b"1one".to_vec())), (b"2two".to_vec(), None)]);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
pub struct HashJoin {
    env: Env,
    build: Side,
    pass: Option<Pass>,
    stage: Stage,
    probe: Probe,
    /// Probe rows that came before the build side had ended.
    early: Option<Spool>,
    /// Rows with null keys that the kind keeps, by [`Side::index`].
    nulls: [Option<Spool>; 2],
    ended: [bool; 2],
    /// The build side stays for another probe side.
    pinned: bool,
    /// Rows of this pass's sides, to see whether partitioning helped.
    rows: [u64; 2],
    tasks: Vec<Task>,
    count: u128,
    stats: JoinStats,
    scratch: Vec<u8>,
    mixed: Vec<u64>,
}

/// Partitions on disk, to be joined.
struct Task {
    sides: Spilled,
    level: u32,
    /// Rows of the sides that it is a part of.
    parent_rows: [u64; 2],
}

/// Where the probe rows of a pass come from.
enum Source {
    /// From the caller, those that came early first.
    Pushed(Option<Box<(Spooled, SpoolReader)>>),
    Run(RunReader),
}

enum Stage {
    /// The caller pushes build rows.
    Build,
    /// Build rows are read from disk.
    Load(RunReader, RunReader),
    /// The build side is made ready.
    Index(Source),
    Probe(Source),
    /// Build rows without a partner are emitted.
    Scan(Unmatched),
    /// The next partition from disk, if any.
    Next,
    Nested(Box<Nested>),
    /// Rows with null keys are emitted.
    Nulls(Option<(Side, Spooled, SpoolReader)>),
    /// All results are out, and the build side is all there: another probe side may come.
    Kept,
    Done,
}

impl HashJoin {
    /// A join within this reservation. With a waker, calls answer [`Progress::Waiting`] where they would wait for a file.
    ///
    /// # Errors
    /// [`Error::BudgetTooSmall`] if the reservation has fewer than [`MINIMUM_SEGMENTS`] segments.
    pub fn new(reservation: Reservation, spill: SpillManager, options: JoinOptions, waker: Option<Waker>) -> Result<Self> {
        let env = Env::new(reservation, spill, &options, waker, SPOOLS);
        if env.reservation.held() < MINIMUM_SEGMENTS {
            return Err(env.too_small());
        }
        let build = options.build;
        Ok(Self {
            pass: Some(Pass::new(&env, build, 0, partition_bits(&env.reservation))),
            env,
            build,
            stage: Stage::Build,
            probe: Probe::new(Env::scratch_batch()),
            early: None,
            nulls: [None, None],
            ended: [false; 2],
            pinned: false,
            rows: [0; 2],
            tasks: Vec::new(),
            count: 0,
            stats: JoinStats::default(),
            scratch: Vec::new(),
            mixed: Vec::new(),
        })
    }

    /// Takes a batch of `side`. Rows for which `null_keys` says so never match.
    ///
    /// [`Progress::Done`]: push more, or end the side. Otherwise [`HashJoin::pull`] first, until it says `Done`: there
    /// are results, or (`Waiting`) spill files are behind.
    ///
    /// # Errors
    /// Of spill files; [`Error::BudgetTooSmall`] and [`Error::RecordTooLarge`] of the pool.
    pub fn push(&mut self, side: Side, batch: &RowBatch, null_keys: Option<&[bool]>) -> Result<Progress> {
        let hashes = Some(batch.hashes()).filter(|hashes| hashes.len() == batch.len());
        self.rows[side.index()] += batch.len() as u64;
        if side == self.build {
            self.stats.build_rows += batch.len() as u64;
        } else {
            self.stats.probe_rows += batch.len() as u64;
            // Only a caller that did not pull comes here while the build side is made ready.
            while matches!(self.stage, Stage::Index(_)) {
                self.index()?;
            }
        }
        let form = self.env.stored(side);
        if side != self.build
            && let (Stage::Probe(_), Some(pass), Some(width)) = (&self.stage, &mut self.pass, form.plain_width())
            && null_keys.is_none_or(|nulls| !nulls.contains(&true))
        {
            self.mixed.clear();
            match hashes {
                Some(hashes) => self.mixed.extend(hashes.iter().map(|&hash| hash::remix(hash, pass.level))),
                None => self.mixed.extend(batch.iter().map(|row| self.env.mixed(form.key(row), pass.level))),
            }
            take_probe_rows(pass, &mut self.probe, width, batch.iter(), &self.mixed)?;
            return Ok(self.answer());
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        for (i, row) in batch.iter().enumerate() {
            let row = form.store(row, &mut scratch);
            if null_keys.is_some_and(|nulls| nulls[i]) {
                self.put_aside(side, row)?;
                continue;
            }
            let hash = hashes.map_or_else(|| hash::hash_bytes(form.key(row)), |hashes| hashes[i]);
            if side == self.build {
                self.add_build(hash, row)?;
            } else {
                self.add_probe(hash, row)?;
            }
        }
        self.scratch = scratch;
        self.relieve()?;
        Ok(self.answer())
    }

    /// What a push says.
    fn answer(&self) -> Progress {
        let behind = self.env.waker.is_some() && !self.ready();
        match (behind, self.probe.is_done()) {
            (true, _) => Progress::Waiting,
            (false, true) => Progress::Done,
            (false, false) => Progress::More,
        }
    }

    /// Says that `side` has no more rows. Pull afterwards.
    ///
    /// # Errors
    /// None today.
    pub fn end(&mut self, side: Side) -> Result<Progress> {
        self.ended[side.index()] = true;
        Ok(if self.ended[self.build.index()] { Progress::More } else { Progress::Done })
    }

    /// Replaces the rows of `out` by the next results, about `max_rows` of them at the most.
    ///
    /// There can be results whatever it answers. [`Progress::More`]: call again. [`Progress::Done`]: nothing is left to do
    /// until there is more input; if both sides have ended, never again.
    ///
    /// # Errors
    /// As [`HashJoin::push`].
    pub fn pull(&mut self, out: &mut JoinedBatch, max_rows: usize) -> Result<Progress> {
        out.clear();
        for _ in 0..FUEL {
            match self.turn(out, max_rows.max(1))? {
                Turn::Again => {}
                Turn::Full => break,
                Turn::Waiting => return Ok(Progress::Waiting),
                Turn::Done => return Ok(Progress::Done),
            }
        }
        Ok(Progress::More)
    }

    /// With [`JoinOutput::CountOnly`](super::JoinOutput::CountOnly), the number of results so far; all of them once both sides have ended and
    /// [`HashJoin::pull`] said `Done`.
    pub fn count(&self) -> u128 {
        self.count
    }

    /// Whether both sides have ended and all results are out.
    pub fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Kept | Stage::Done)
    }

    /// Once all results are out: makes ready for another probe side against the same build side, as often as one likes.
    /// False if the build side is not there any more: some of it was on disk, or its rows were marked.
    ///
    /// From the first time on it gives nothing of the build side back when others would like memory.
    pub fn begin_again(&mut self) -> bool {
        if !matches!(self.stage, Stage::Kept) {
            return false;
        }
        self.stage = Stage::Probe(Source::Pushed(None));
        self.ended[self.build.other().index()] = false;
        self.pinned = true;
        true
    }

    /// What was done so far.
    pub fn stats(&self) -> JoinStats {
        self.stats
    }

    #[inline]
    fn add_build(&mut self, hash: u64, row: &[u8]) -> Result<()> {
        let Some(pass) = &mut self.pass else { return Ok(()) };
        let mixed = hash::remix(hash, pass.level);
        while !pass.add_build(&self.env, mixed, row)? {
            match self.early.as_mut().filter(|early| early.segments() > 0) {
                Some(early) => early.spill()?,
                None => pass.make_room(&self.env, mixed)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn add_probe(&mut self, hash: u64, row: &[u8]) -> Result<()> {
        if let Stage::Build = self.stage {
            let side = self.build.other();
            return self
                .early
                .get_or_insert_with(|| Spool::new(self.env.spool_context(side, self.env.stored(side).shape(), usize::MAX)))
                .push(row);
        }
        let Some(pass) = &mut self.pass else { return Ok(()) };
        let mixed = hash::remix(hash, pass.level);
        if pass.route(mixed, row)? {
            self.probe.push(row, mixed);
        }
        Ok(())
    }

    /// A row with a null key.
    fn put_aside(&mut self, side: Side, row: &[u8]) -> Result<()> {
        if !self.env.kind.keeps_unmatched(side) {
            return Ok(());
        }
        self.nulls[side.index()]
            .get_or_insert_with(|| Spool::new(self.env.spool_context(side, self.env.stored(side).shape(), usize::MAX)))
            .push(row)
    }

    /// Others would like memory back: what came early goes to disk, or a partition does.
    fn relieve(&mut self) -> Result<()> {
        if self.pinned || self.env.reservation.pressure() == 0 {
            return Ok(());
        }
        match (&mut self.early, &mut self.pass) {
            (Some(early), _) if early.segments() > 0 => early.spill(),
            (_, Some(pass)) => pass.spill_largest(&self.env).map(drop),
            _ => Ok(()),
        }
    }

    fn ready(&self) -> bool {
        self.pass.as_ref().is_none_or(Pass::ready)
            && self.early.as_ref().is_none_or(Spool::ready)
            && self.nulls.iter().flatten().all(Spool::ready)
    }

    fn turn(&mut self, out: &mut JoinedBatch, max_rows: usize) -> Result<Turn> {
        let count = self.env.count_only.then_some(&mut self.count);
        let mut emitter = Emitter { out, max_rows, count };
        match &mut self.stage {
            Stage::Build => {
                if !self.ended[self.build.index()] {
                    let behind = self.env.waker.is_some() && !self.ready();
                    return Ok(if behind { Turn::Waiting } else { Turn::Done });
                }
                let early = self.seal_early()?;
                self.stage = Stage::Index(Source::Pushed(early));
                Ok(Turn::Again)
            }
            Stage::Load(..) => self.load(),
            Stage::Index(_) => self.index(),
            Stage::Probe(source) => {
                let Some(pass) = &mut self.pass else { return Ok(Turn::Done) };
                let build = pass.build;
                if !self.probe.is_done() {
                    let mut sense = Sense {
                        roles: pass.roles,
                        build,
                        build_form: self.env.stored(build),
                        probe_form: self.env.stored(build.other()),
                        found: None,
                        last: true,
                    };
                    self.probe.emit(&mut pass.tables, &mut sense, &mut emitter);
                    if !self.probe.is_done() {
                        return Ok(Turn::Full);
                    }
                }
                self.probe.clear();
                let end = match source {
                    Source::Pushed(early @ Some(_)) => {
                        return from_early(&self.env, pass, &mut self.probe, early);
                    }
                    Source::Pushed(None) if !self.ended[build.other().index()] => {
                        let behind = self.env.waker.is_some() && !pass.ready();
                        return Ok(if behind { Turn::Waiting } else { Turn::Done });
                    }
                    Source::Pushed(None) => true,
                    Source::Run(reader) => match from_run(&self.env, pass, &mut self.probe, reader, &mut self.mixed)? {
                        Turn::Done => self.probe.is_done(),
                        turn => return Ok(turn),
                    },
                };
                if end {
                    let pushed = matches!(source, Source::Pushed(_));
                    let kept =
                        pushed && pass.is_resident() && !pass.roles.marks_build() && self.nulls.iter().all(Option::is_none);
                    self.stage = if kept { Stage::Kept } else { Stage::Scan(Unmatched::default()) };
                }
                Ok(Turn::Again)
            }
            Stage::Scan(unmatched) => {
                if let Some(pass) = &self.pass {
                    let form = self.env.stored(pass.build);
                    if pass.roles.build_unmatched && !unmatched.emit(&pass.tables, pass.build, form, &mut emitter) {
                        return Ok(Turn::Full);
                    }
                }
                self.finish_pass()?;
                Ok(Turn::Again)
            }
            Stage::Next => {
                match self.tasks.pop() {
                    Some(task) => self.start(task)?,
                    None => self.stage = Stage::Nulls(None),
                }
                Ok(Turn::Again)
            }
            Stage::Nested(nested) => {
                let turn = nested.step(&self.env, &mut self.probe, &mut emitter)?;
                if turn != Turn::Done {
                    return Ok(turn);
                }
                self.stats.nested_blocks += nested.blocks();
                self.stage = Stage::Next;
                Ok(Turn::Again)
            }
            Stage::Nulls(Some((side, rows, reader))) => {
                for _ in 0..ROWS {
                    if emitter.is_full() {
                        return Ok(Turn::Full);
                    }
                    match reader.next(rows)? {
                        SpoolStep::Row(row) => emitter.alone(*side, self.env.stored(*side), row),
                        SpoolStep::Waiting => return Ok(Turn::Waiting),
                        SpoolStep::End => {
                            self.stage = Stage::Nulls(None);
                            break;
                        }
                    }
                }
                Ok(Turn::Again)
            }
            Stage::Nulls(None) => {
                for side in [Side::Left, Side::Right] {
                    if let Some(spool) = self.nulls[side.index()].take() {
                        let rows = spool.seal()?;
                        self.stats.spilled_bytes += rows.bytes_on_disk();
                        let reader = rows.reader()?;
                        self.stage = Stage::Nulls(Some((side, rows, reader)));
                        return Ok(Turn::Again);
                    }
                }
                self.stage = Stage::Done;
                Ok(Turn::Done)
            }
            Stage::Kept | Stage::Done => Ok(Turn::Done),
        }
    }

    /// The build side has ended: what came early from the probe side can be read. Its read buffers are taken now, at the
    /// cost of a partition if need be, before the directories take what is left.
    fn seal_early(&mut self) -> Result<Option<Box<(Spooled, SpoolReader)>>> {
        let Some(early) = self.early.take() else { return Ok(None) };
        let rows = early.seal()?;
        self.stats.spilled_bytes += rows.bytes_on_disk();
        loop {
            match rows.reader() {
                Ok(reader) => return Ok(Some(Box::new((rows, reader)))),
                Err(error @ Error::RecordTooLarge { .. }) => {
                    let Some(pass) = &mut self.pass else { return Err(error) };
                    if !pass.spill_largest(&self.env)? {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn index(&mut self) -> Result<Turn> {
        let ready = match &mut self.pass {
            Some(pass) => pass.finish_build(&self.env)?,
            None => true,
        };
        if ready && let Stage::Index(source) = std::mem::replace(&mut self.stage, Stage::Done) {
            self.stage = Stage::Probe(source);
        }
        Ok(Turn::Again)
    }

    fn load(&mut self) -> Result<Turn> {
        let (Stage::Load(reader, _), Some(pass)) = (&mut self.stage, &mut self.pass) else { return Ok(Turn::Done) };
        let form = self.env.stored(pass.build);
        for _ in 0..ROWS {
            match reader.advance()? {
                Step::Row => {}
                Step::Waiting => return Ok(Turn::Waiting),
                Step::End => {
                    if let Stage::Load(_, probe) = std::mem::replace(&mut self.stage, Stage::Done) {
                        self.stage = Stage::Index(Source::Run(probe));
                    }
                    return Ok(Turn::Again);
                }
            }
            let row = reader.row();
            let mixed = self.env.mixed(form.key(row), pass.level);
            while !pass.add_build(&self.env, mixed, row)? {
                pass.make_room(&self.env, mixed)?;
            }
        }
        Ok(Turn::Again)
    }

    fn finish_pass(&mut self) -> Result<()> {
        self.stage = Stage::Next;
        let Some(pass) = self.pass.take() else { return Ok(()) };
        self.stats.filtered_rows += pass.filtered();
        let level = pass.level;
        for sides in pass.finish()? {
            self.stats.spilled_partitions += 1;
            self.stats.spilled_bytes += sides.runs.iter().map(Run::bytes).sum::<u64>();
            self.tasks.push(Task { sides, level: level + 1, parent_rows: self.rows });
        }
        Ok(())
    }

    /// Begins with a partition from disk. The smaller side is built, whichever was before.
    fn start(&mut self, task: Task) -> Result<()> {
        let runs = &task.sides.runs;
        let need = |side: Side| runs[side.index()].bytes() + runs[side.index()].rows() * 12;
        let build = if need(self.build) <= need(self.build.other()) { self.build } else { self.build.other() };
        let (built, probed) = (&runs[build.index()], &runs[build.other().index()]);
        self.rows = [runs[0].rows(), runs[1].rows()];
        self.stats.depth = self.stats.depth.max(task.level - 1);
        let nothing = (built.rows() == 0 && !self.env.kind.keeps_unmatched(build.other()))
            || (probed.rows() == 0 && !self.env.kind.keeps_unmatched(build));
        if nothing {
            return Ok(());
        }
        let hardly_smaller = built.rows() * 10 >= task.parent_rows[build.index()] * 9;
        if hardly_smaller || task.level > DEEPEST {
            self.stage = Stage::Nested(Box::new(Nested::new(&self.env, task.sides, build, task.level)?));
            return Ok(());
        }
        let fits_well = need(build) < (self.env.reservation.limit() as u64) << 13;
        let bits = if fits_well { 2 } else { partition_bits(&self.env.reservation) };
        let readers = (self.env.reader(built)?, self.env.reader(probed)?);
        self.pass = Some(Pass::new(&self.env, build, task.level, bits));
        self.stage = Stage::Load(readers.0, readers.1);
        Ok(())
    }
}

/// Partitions by what can be had: each takes a segment at least, and a write buffer.
fn partition_bits(reservation: &Reservation) -> u32 {
    match reservation.limit() {
        0..256 => 2,
        256..2048 => 3,
        _ if reservation.minimum() < 2 * MINIMUM_SEGMENTS => 3,
        _ => 4,
    }
}
