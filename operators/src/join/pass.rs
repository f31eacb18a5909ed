//! One pass of the hybrid hash join: build rows are partitioned by a re-mixed hash, as many partitions stay in memory as
//! fit, the others are written to disk with the probe rows that belong to them, and become tasks of the next level
//! (DeWitt et al.: *Implementation Techniques for Main Memory Database Systems*, 1984; victims are chosen as they must
//! be, largest first, as Nakayama et al., 1988).
//!
//! Invariant: every partition that is not on disk has a spare segment, so that writing it out never needs memory that is
//! not there. Trade-off: partitions are written whole, for files of a few large runs; the memory of one partition at
//! the most stays unused.

use super::bloom::Bloom;
use super::env::{Env, Merge, Stored};
use super::kind::{Roles, Side};
use super::table::Table;
use super::tables::Tables;
use fluvial_memory::{Address, Extent, Result, Run, RunWriter};

/// Build rows whose keys were seen last, by hash: where further rows of a key need not be kept, most are caught here
/// before they take memory.
const RECENT: usize = 1024;

const NOWHERE: Address = Address(u64::MAX);

/// Most segments of a partition's filter: 8 bits for each of a million keys.
const LARGEST_BLOOM: usize = 32;

/// What a pass left to be joined: both sides of a partition.
pub(crate) struct Spilled {
    /// By [`Side::index`].
    pub runs: [Run; 2],
}

enum Build {
    Writing(RunWriter),
    Written(Run),
}

struct OnDisk {
    build: Build,
    probe: Option<RunWriter>,
    bloom: Option<Bloom>,
}

/// How far [`Pass::finish_build`] has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Building,
    Indexing(usize),
    Probing,
}

pub(crate) struct Pass {
    pub build: Side,
    pub roles: Roles,
    pub level: u32,
    pub tables: Tables,
    on_disk: Vec<Option<OnDisk>>,
    spares: Vec<Option<Extent>>,
    /// A buffer for the next partition to be written, larger than a spare, and its filter.
    buffer: Option<Extent>,
    bloom: Option<Bloom>,
    merge: Merge,
    recent: Vec<(u64, Address)>,
    stage: Stage,
}

impl Pass {
    /// A pass with `2^bits` partitions.
    pub(crate) fn new(env: &Env, build: Side, level: u32, bits: u32) -> Self {
        let (stored, merge) = (env.stored(build), env.merge(build));
        let table = || Some(Table::new(&env.reservation, stored, level, bits));
        let partitions = 1 << bits;
        let mut pass = Self {
            build,
            roles: Roles::new(env.kind, build),
            level,
            tables: Tables { bits, tables: (0..partitions).map(|_| table()).collect() },
            on_disk: (0..partitions).map(|_| None).collect(),
            spares: (0..partitions).map(|_| env.reservation.alloc()).collect(),
            buffer: None,
            bloom: None,
            merge,
            recent: if merge == Merge::List { Vec::new() } else { vec![(0, NOWHERE); RECENT] },
            stage: Stage::Building,
        };
        pass.stock(env);
        pass
    }

    /// Takes a stored build row; `false` if there is no memory for it: call [`Pass::make_room`], or give memory back
    /// elsewhere, and try again.
    #[inline]
    pub(crate) fn add_build(&mut self, env: &Env, mixed: u64, row: &[u8]) -> Result<bool> {
        let partition = self.tables.partition(mixed);
        if let Some(table) = &mut self.tables.tables[partition] {
            if self.merge == Merge::List {
                return Ok(table.append(row).is_some());
            }
            let recent = &mut self.recent[mixed as usize % RECENT];
            if recent.0 == mixed && merge_recent(recent.1, table, env.stored(self.build), self.merge, row) {
                return Ok(true);
            }
            let Some(address) = table.append(row) else { return Ok(false) };
            *recent = (mixed, address);
        } else if let Some(OnDisk { build: Build::Writing(writer), bloom, .. }) = &mut self.on_disk[partition] {
            if let Some(bloom) = bloom {
                bloom.insert(mixed);
            }
            writer.push(row)?;
        }
        Ok(true)
    }

    /// Whether build and probe rows can be taken without waiting for a write.
    pub(crate) fn ready(&self) -> bool {
        self.on_disk.iter().flatten().all(|part| {
            let build = match &part.build {
                Build::Writing(writer) => writer.ready(),
                Build::Written(_) => true,
            };
            build && part.probe.as_ref().is_none_or(RunWriter::ready)
        })
    }

    /// Writes the largest partition in memory to disk; `false` if none holds memory.
    pub(crate) fn spill_largest(&mut self, env: &Env) -> Result<bool> {
        let from = match self.stage {
            Stage::Building => 0,
            Stage::Indexing(from) => from,
            Stage::Probing => return Ok(false),
        };
        let largest = self.largest(from);
        match largest {
            Some((partition, segments)) if segments > 0 => self.spill(env, partition).map(|()| true),
            _ => Ok(false),
        }
    }

    fn largest(&self, from: usize) -> Option<(usize, usize)> {
        let tables = self.tables.tables.iter().enumerate().skip(from);
        tables.filter_map(|(i, table)| Some((i, table.as_ref()?.segments()))).max_by_key(|&(_, segments)| segments)
    }

    /// Makes room for a row that [`Pass::add_build`] refused: spills the largest partition, or the row's own if none
    /// holds memory.
    #[cold]
    pub(crate) fn make_room(&mut self, env: &Env, mixed: u64) -> Result<()> {
        if self.spill_largest(env)? { Ok(()) } else { self.spill(env, self.tables.partition(mixed)) }
    }

    /// Writes a partition to disk.
    fn spill(&mut self, env: &Env, partition: usize) -> Result<()> {
        let Some(mut table) = self.tables.tables[partition].take() else { return Ok(()) };
        tracing::debug!(partition, level = self.level, rows = table.pages().rows(), "join partition goes to disk");
        let buffer = self.take_buffer(env, partition)?;
        let mut writer = env.writer(self.build, buffer)?;
        table.drop_index();
        self.recent.fill((0, NOWHERE));
        for row in table.pages().iter() {
            writer.push(row)?;
        }
        let mut bloom = self.bloom.take();
        if let Some(bloom) = &mut bloom {
            let stored = env.stored(self.build);
            for row in table.pages().iter() {
                bloom.insert(env.mixed(stored.key(row), self.level));
            }
        }
        table.clear();
        self.stock(env);
        let mut part = OnDisk { build: Build::Writing(writer), probe: None, bloom };
        if self.stage != Stage::Building {
            part = self.turn_to_probe(env, partition, part)?;
        }
        self.on_disk[partition] = Some(part);
        Ok(())
    }

    /// Takes what the next partition to be written will want, while there is memory.
    fn stock(&mut self, env: &Env) {
        if self.buffer.is_none() {
            self.buffer = env.reservation.alloc_extent(self.block_segments(env));
        }
        if self.bloom.is_none() {
            let share = env.reservation.limit() >> (self.tables.bits + 4);
            self.bloom = Bloom::new(&env.reservation, share.min(LARGEST_BLOOM));
        }
    }

    /// Segments of a write buffer: all of them together hold at most an eighth of the budget.
    fn block_segments(&self, env: &Env) -> usize {
        let share = env.reservation.limit() >> (self.tables.bits + 3);
        env.spill.block_segments(&env.reservation).min(share).max(1)
    }

    /// A write buffer for a partition: a large one if there is one, or the partition's spare.
    fn take_buffer(&mut self, env: &Env, partition: usize) -> Result<Extent> {
        if let Some(buffer) = self.buffer.take().or_else(|| env.reservation.alloc_extent(self.block_segments(env))) {
            return Ok(buffer);
        }
        match self.spares[partition].take().or_else(|| env.reservation.alloc()) {
            Some(buffer) => Ok(buffer),
            None => Err(env.too_small()),
        }
    }

    /// A partition on disk has all its build rows: it takes probe rows from now on.
    fn turn_to_probe(&mut self, env: &Env, partition: usize, part: OnDisk) -> Result<OnDisk> {
        let run = match part.build {
            Build::Writing(writer) => writer.finish()?,
            Build::Written(run) => run,
        };
        let buffer = self.take_buffer(env, partition)?;
        let probe = Some(env.writer(self.build.other(), buffer)?);
        Ok(OnDisk { build: Build::Written(run), probe, ..part })
    }

    /// All build rows are in: a bounded amount of the work until probe rows can be taken. Whether they can.
    pub(crate) fn finish_build(&mut self, env: &Env) -> Result<bool> {
        match self.stage {
            Stage::Building => {
                self.recent = Vec::new();
                for partition in 0..self.on_disk.len() {
                    if let Some(part) = self.on_disk[partition].take() {
                        self.on_disk[partition] = Some(self.turn_to_probe(env, partition, part)?);
                    }
                }
                self.stage = Stage::Indexing(0);
            }
            Stage::Indexing(partition) if partition == self.tables.tables.len() => {
                self.buffer = None;
                self.bloom = None;
                self.spares.clear();
                self.stage = Stage::Probing;
            }
            Stage::Indexing(partition) => {
                let merge = self.merge;
                let done = self.tables.tables[partition]
                    .as_mut()
                    .is_none_or(|table| table.pages().rows() == 0 || table.index(&env.reservation, merge).is_some());
                if done {
                    self.stage = Stage::Indexing(partition + 1);
                } else if !self.spill_largest(env)? {
                    self.spill(env, partition)?;
                }
            }
            Stage::Probing => return Ok(true),
        }
        Ok(self.stage == Stage::Probing)
    }

    /// Sends a stored probe row where it belongs: to disk, nowhere, or (`true`) back to the caller, who probes.
    #[inline]
    pub(crate) fn route(&mut self, mixed: u64, row: &[u8]) -> Result<bool> {
        let partition = self.tables.partition(mixed);
        let Some(OnDisk { probe: Some(writer), bloom, .. }) = &mut self.on_disk[partition] else { return Ok(true) };
        if let Some(filter) = bloom {
            if !filter.contains(mixed) {
                return Ok(self.roles.probe_unmatched);
            }
            if filter.useless() {
                *bloom = None;
            }
        }
        writer.push(row)?;
        Ok(false)
    }

    /// Whether all partitions are in memory, so that [`Pass::route`] gives all rows back.
    pub(crate) fn is_resident(&self) -> bool {
        self.on_disk.iter().all(Option::is_none)
    }

    /// Probe rows that the filters kept from being written.
    pub(crate) fn filtered(&self) -> u64 {
        self.on_disk.iter().flatten().filter_map(|part| part.bloom.as_ref()).map(Bloom::rejected).sum()
    }

    /// Ends the pass, gives its memory back, and hands out what is on disk.
    pub(crate) fn finish(self) -> Result<Vec<Spilled>> {
        drop(self.tables);
        let build = self.build;
        let parts = self.on_disk.into_iter().flatten();
        let spilled = parts.map(|part| {
            let (Build::Written(built), Some(probe)) = (part.build, part.probe) else { return Ok(None) };
            let probed = probe.finish()?;
            let runs = if build == Side::Left { [built, probed] } else { [probed, built] };
            Ok(Some(Spilled { runs }))
        });
        spilled.filter_map(Result::transpose).collect()
    }
}

/// Merges a row into an earlier one if that has the same key.
fn merge_recent(earlier: Address, table: &mut Table, stored: Stored, merge: Merge, row: &[u8]) -> bool {
    if earlier == NOWHERE || !table.has_key(earlier, stored.key(row)) {
        return false;
    }
    if merge == Merge::Count {
        table.count_another(earlier, stored.count(row));
    }
    true
}
