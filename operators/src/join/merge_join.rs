//! The sort-merge join: both inputs come in the order of their keys.
//!
//! Two cursors walk the inputs together. Of a key that both have, the right rows are put aside, in memory and beyond a
//! few on disk, and met by blocks of left rows; semi and anti joins and counts put nothing aside. Rows that a caller
//! pushes before they are wanted ([`SortMergeJoin::wants`]) wait in spillable pages.

use super::env::Env;
use super::joined::JoinedBatch;
use super::kind::{JoinKind, Side};
use super::merge_input::{Head, MergeInput};
use super::options::JoinOptions;
use super::spool::{Spool, SpoolContext, SpoolReader, SpoolStep, Spooled};
use super::{FILL_BYTES, MINIMUM_SEGMENTS, ROWS, Turn};
use fluvial_memory::{Progress, Reservation, Result, RowBatch, SpillManager, Waker};
use std::cmp::Ordering;

/// Turns of work in one call.
const FUEL: usize = 64;

/// Spools at a time: on either side rows being read, rows that came meanwhile, and rows with null keys; and the right rows
/// of a key. Each keeps a share of the minimum in memory; more would only be a longer way for rows that came too soon.
const SPOOLS: usize = 8;

/// Buffers that they may need when there is no memory: to read or to write, but for the rows that are read.
const BUFFERS: usize = 8;

/// Bytes of right rows of a key, and of left rows that meet them together, that are kept in plain batches.
const BLOCK_BYTES: usize = FILL_BYTES / 4;

/// Bytes beyond which a batch of results is full.
const MAX_BYTES: usize = 1 << 20;

/// The sort-merge join of two inputs that are sorted by key, ascending in the order of the keys' bytes.
///
/// Rows with null keys may come anywhere. `options.build` is of no importance here. The results are in the order of
/// the keys, but for rows with null keys.
///
/// ```
/// use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape, SpillConfig, SpillManager};
/// use fluvial_operators::{JoinKind, JoinOptions, JoinedBatch, MINIMUM_JOIN_SEGMENTS, Side, SortMergeJoin};
///
/// let memory = MemoryManager::new(4 << 20)?;
/// let shape = RowShape::fixed(1, 1);
/// let options = JoinOptions::new(JoinKind::LeftAnti, shape, shape);
/// let mut out = JoinedBatch::new(options.kind, shape, shape);
/// let spill = SpillManager::new(SpillConfig::default())?;
/// let mut join = SortMergeJoin::new(memory.reserve("join", MINIMUM_JOIN_SEGMENTS)?, spill, options, None)?;
/// let (mut left, mut right) = (RowBatch::new(shape), RowBatch::new(shape));
/// left.push(b"1", b"a");
/// left.push(b"3", b"b");
/// right.push(b"1", b"x");
/// join.push(Side::Left, &left, None)?;
/// join.push(Side::Right, &right, None)?;
/// assert_eq!(join.pull(&mut out, 100)?, Progress::Done);
/// assert_eq!(join.wants(), Some(Side::Right));
/// join.end(Side::Right)?;
/// join.end(Side::Left)?;
/// assert_eq!(join.pull(&mut out, 100)?, Progress::Done);
/// assert_eq!(out.left.row(0), b"3b");
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
pub struct SortMergeJoin {
    kind: JoinKind,
    inputs: [MergeInput; 2],
    state: State,
    /// The key that both sides have at present.
    key: Vec<u8>,
    /// Its right rows: the first of them, and all beyond those.
    group: RowBatch,
    group_context: SpoolContext,
    collecting: Option<Spool>,
    group_rest: Option<(Spooled, Option<SpoolReader>)>,
    /// Left rows that meet the right ones together.
    block: RowBatch,
    /// Position in the pairs of the block and the group.
    group_at: usize,
    block_at: usize,
    /// The row of `group_rest` at hand.
    rest_row: Vec<u8>,
    /// Rows of the key on either side, where only numbers are asked for.
    counted: [u64; 2],
    count_only: bool,
    count: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The heads of both sides are compared.
    Compare,
    /// The rows of the key are gone through, left side first; no pairs are made.
    Walk(Side),
    /// The right rows of the key are put aside.
    Collect,
    /// Left rows of the key are taken.
    Block,
    /// Pairs are emitted: of the first right rows, then of the rest.
    Pairs,
    Rest,
    Done,
}

impl SortMergeJoin {
    /// A join within this reservation.
    ///
    /// # Errors
    /// [`fluvial_memory::Error::BudgetTooSmall`] if the reservation has fewer than [`MINIMUM_SEGMENTS`] segments.
    pub fn new(reservation: Reservation, spill: SpillManager, options: JoinOptions, waker: Option<Waker>) -> Result<Self> {
        let env = Env::new(reservation.clone(), spill, &options, waker, BUFFERS);
        if reservation.held() < MINIMUM_SEGMENTS {
            return Err(env.too_small());
        }
        let most = reservation.minimum() / SPOOLS;
        let context = |side| env.spool_context(side, if side == Side::Left { options.left } else { options.right }, most);
        Ok(Self {
            kind: options.kind,
            inputs: [
                MergeInput::new(Side::Left, options.left, context(Side::Left)),
                MergeInput::new(Side::Right, options.right, context(Side::Right)),
            ],
            state: State::Compare,
            key: Vec::new(),
            group: RowBatch::new(options.right),
            group_context: context(Side::Right),
            collecting: None,
            group_rest: None,
            block: RowBatch::new(options.left),
            group_at: 0,
            block_at: 0,
            rest_row: Vec::new(),
            counted: [0; 2],
            count_only: env.count_only,
            count: 0,
        })
    }

    /// Takes a batch of `side`, whose keys are not less than those before. Rows for which `null_keys` says so never match.
    ///
    /// # Errors
    /// Of spill files.
    pub fn push(&mut self, side: Side, batch: &RowBatch, null_keys: Option<&[bool]>) -> Result<Progress> {
        let keep = self.kind.keeps_unmatched(side);
        let input = &mut self.inputs[side.index()];
        for (i, row) in batch.iter().enumerate() {
            if null_keys.is_some_and(|nulls| nulls[i]) {
                if keep {
                    input.push_null(row)?;
                }
            } else {
                input.push(row)?;
            }
        }
        Ok(Progress::More)
    }

    /// Says that `side` has no more rows.
    ///
    /// # Errors
    /// None today.
    pub fn end(&mut self, side: Side) -> Result<Progress> {
        self.inputs[side.index()].end();
        Ok(Progress::More)
    }

    /// After [`SortMergeJoin::pull`] said [`Progress::Done`]: the side of which it needs more rows, or their end.
    pub fn wants(&self) -> Option<Side> {
        [Side::Left, Side::Right].into_iter().find(|side| self.inputs[side.index()].is_starved())
    }

    /// Whether both sides have ended and all results are out.
    pub fn is_finished(&self) -> bool {
        self.state == State::Done
    }

    /// Where only numbers are asked for: the number of results so far.
    pub fn count(&self) -> u128 {
        self.count
    }

    /// Replaces the rows of `out` by the next results; as [`HashJoin::pull`](super::HashJoin::pull).
    ///
    /// # Errors
    /// Of spill files; [`fluvial_memory::Error::Unsupported`] if an input is not in order.
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

    fn turn(&mut self, out: &mut JoinedBatch, max_rows: usize) -> Result<Turn> {
        for _ in 0..ROWS {
            if out.len() >= max_rows || out.byte_len() >= MAX_BYTES {
                return Ok(Turn::Full);
            }
            let turn = match self.state {
                State::Compare => self.compare(out)?,
                State::Walk(side) => self.walk(side, out)?,
                State::Collect => self.collect()?,
                State::Block => self.take_block()?,
                State::Pairs => self.pairs(out, max_rows),
                State::Rest => self.rest(out, max_rows)?,
                State::Done => Turn::Done,
            };
            if turn != Turn::Again {
                return Ok(turn);
            }
        }
        Ok(Turn::Again)
    }

    /// Rows with keys that only one side has pass by; at a key that both have, the state changes.
    fn compare(&mut self, out: &mut JoinedBatch) -> Result<Turn> {
        let [left, right] = &mut self.inputs;
        let heads = [left.fill()?, right.fill()?];
        if heads.contains(&Head::Waiting) {
            return Ok(Turn::Waiting);
        }
        if heads.contains(&Head::Starved) {
            return Ok(Turn::Done);
        }
        let side = match heads {
            [Head::End, Head::End] => {
                self.state = State::Done;
                return Ok(Turn::Done);
            }
            [Head::Row, Head::End] => Side::Left,
            [Head::End, Head::Row] => Side::Right,
            // Rows with null keys come as heads too; they are less than everything and equal to nothing.
            _ if left.is_null() => Side::Left,
            _ if right.is_null() => Side::Right,
            _ => match left.key().cmp(right.key()) {
                Ordering::Less => Side::Left,
                Ordering::Greater => Side::Right,
                Ordering::Equal => {
                    self.key.clear();
                    self.key.extend_from_slice(left.key());
                    self.counted = [0; 2];
                    self.state = if self.kind.pairs() && !self.count_only { State::Collect } else { State::Walk(Side::Left) };
                    return Ok(Turn::Again);
                }
            },
        };
        let input = &mut self.inputs[side.index()];
        if self.kind.keeps_unmatched(side) {
            if self.count_only {
                self.count += 1;
            } else {
                out.push_alone(side, input.row());
            }
        }
        input.consume();
        Ok(Turn::Again)
    }

    /// Whether the head of a side has the key at hand; `Err` of a turn if that is not known yet.
    fn has_key(&mut self, side: Side) -> Result<std::result::Result<bool, Turn>> {
        let input = &mut self.inputs[side.index()];
        Ok(match input.fill()? {
            Head::Row => Ok(!input.is_null() && input.key() == self.key),
            Head::End => Ok(false),
            Head::Waiting => Err(Turn::Waiting),
            Head::Starved => Err(Turn::Done),
        })
    }

    fn walk(&mut self, side: Side, out: &mut JoinedBatch) -> Result<Turn> {
        match self.has_key(side)? {
            Err(turn) => return Ok(turn),
            Ok(true) => {
                let input = &mut self.inputs[side.index()];
                if self.count_only {
                    self.counted[side.index()] += 1;
                } else if self.kind.keeps_matched(side) {
                    out.push_alone(side, input.row());
                }
                input.consume();
            }
            Ok(false) if side == Side::Left => self.state = State::Walk(Side::Right),
            Ok(false) => {
                let [left, right] = self.counted.map(u128::from);
                self.count += match self.kind {
                    JoinKind::LeftSemi => left,
                    JoinKind::RightSemi => right,
                    kind if kind.pairs() => left * right,
                    _ => 0,
                };
                self.state = State::Compare;
            }
        }
        Ok(Turn::Again)
    }

    fn collect(&mut self) -> Result<Turn> {
        match self.has_key(Side::Right)? {
            Err(turn) => return Ok(turn),
            Ok(true) => {
                let input = &mut self.inputs[1];
                if self.group.byte_len() < BLOCK_BYTES {
                    self.group.push_row(input.row());
                } else {
                    self.collecting.get_or_insert_with(|| Spool::new(self.group_context.clone())).push(input.row())?;
                }
                input.consume();
            }
            Ok(false) => {
                self.group_rest = match self.collecting.take() {
                    Some(spool) => Some((spool.seal()?, None)),
                    None => None,
                };
                self.state = State::Block;
            }
        }
        Ok(Turn::Again)
    }

    fn take_block(&mut self) -> Result<Turn> {
        match self.has_key(Side::Left)? {
            Err(turn) => return Ok(turn),
            // With few right rows every left row is met at once; with rows on disk a block saves reading them for each.
            Ok(true) if self.block.byte_len() < BLOCK_BYTES => {
                let input = &mut self.inputs[0];
                self.block.push_row(input.row());
                input.consume();
                if self.group_rest.is_some() {
                    return Ok(Turn::Again);
                }
            }
            Ok(false) if self.block.is_empty() => {
                self.group.clear();
                self.group_rest = None;
                self.state = State::Compare;
                return Ok(Turn::Again);
            }
            Ok(_) => {}
        }
        (self.group_at, self.block_at) = (0, 0);
        self.state = State::Pairs;
        Ok(Turn::Again)
    }

    fn pairs(&mut self, out: &mut JoinedBatch, max_rows: usize) -> Turn {
        while self.group_at < self.group.len() {
            while self.block_at < self.block.len() {
                if out.len() >= max_rows || out.byte_len() >= MAX_BYTES {
                    return Turn::Full;
                }
                out.push_pair(Side::Left, self.block.row(self.block_at), self.group.row(self.group_at));
                self.block_at += 1;
            }
            (self.group_at, self.block_at) = (self.group_at + 1, 0);
        }
        self.block_at = self.block.len();
        self.state = State::Rest;
        Turn::Again
    }

    fn rest(&mut self, out: &mut JoinedBatch, max_rows: usize) -> Result<Turn> {
        while self.block_at < self.block.len() {
            if out.len() >= max_rows || out.byte_len() >= MAX_BYTES {
                return Ok(Turn::Full);
            }
            out.push_pair(Side::Left, self.block.row(self.block_at), &self.rest_row);
            self.block_at += 1;
        }
        if let Some((rows, reader)) = &mut self.group_rest {
            let reader = match reader {
                Some(reader) => reader,
                None => reader.insert(rows.reader()?),
            };
            match reader.next(rows)? {
                SpoolStep::Row(row) => {
                    self.rest_row.clear();
                    self.rest_row.extend_from_slice(row);
                    self.block_at = 0;
                    return Ok(Turn::Again);
                }
                SpoolStep::Waiting => return Ok(Turn::Waiting),
                SpoolStep::End => {}
            }
        }
        if let Some((_, reader)) = &mut self.group_rest {
            *reader = None;
        }
        self.block.clear();
        self.state = State::Block;
        Ok(Turn::Again)
    }
}
