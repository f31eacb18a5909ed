//! Edges as they come, before ids are compacted: chunks of records in blocks.
//!
//! A chunk is an array of words of 8 bytes. An edge whose ids are below 2^32 is one word (source above, target below), any other edge
//! two; a weight is one more. Numbers of vertices ("ranks") are below 2^32, so when ids have been replaced by ranks all edges are narrow.
//! Each worker fills chunks of its own; when the input has ended all workers share all chunks.

use super::block::{Block, BlockMaker, BlockReader, Place};
use fluvial_core::Result;

/// What the records of a chunk are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Vertices: one word.
    Vertices,
    /// Edges with ids below 2^32.
    Narrow,
    /// Edges.
    Wide,
}

/// Records in one block.
pub(crate) struct Chunk {
    pub(crate) form: Form,
    pub(crate) words: usize,
    /// Whether ids have been replaced by ranks.
    pub(crate) ranked: bool,
    pub(crate) place: Place,
}

/// What the input of one worker is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) edges: u64,
    /// All bits that are set in an id.
    pub(crate) bits: u64,
}

/// Takes the edges and vertices that come to one worker.
pub struct Intake {
    maker: BlockMaker,
    weighted: bool,
    open: [Option<(Block, usize)>; 3],
    chunks: Vec<Chunk>,
    totals: Totals,
}

/// Words of a record.
pub(crate) fn stride(form: Form, weighted: bool) -> usize {
    match form {
        Form::Vertices => 1,
        Form::Narrow => 1 + usize::from(weighted),
        Form::Wide => 2 + usize::from(weighted),
    }
}

/// An edge of ranks, or of ids below 2^32, as a word.
#[inline]
pub(crate) fn pack(source: u32, target: u32) -> u64 {
    u64::from(source) << 32 | u64::from(target)
}

/// The ends of an edge in a word.
#[inline]
pub(crate) fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

impl Intake {
    pub(crate) fn new(maker: BlockMaker, weighted: bool) -> Self {
        Self { maker, weighted, open: [None, None, None], chunks: Vec::new(), totals: Totals::default() }
    }

    /// Takes `count` edges: source, target, weight by place.
    ///
    /// # Errors
    /// The pool has no block, or one could not be written.
    pub(crate) fn edges(&mut self, count: usize, at: impl Fn(usize) -> (u64, u64, f64)) -> Result<()> {
        let bits = (0..count).fold(0, |bits, i| {
            let (source, target, _) = at(i);
            bits | source | target
        });
        self.totals.edges += count as u64;
        self.totals.bits |= bits;
        match (bits >> 32 == 0, self.weighted) {
            (true, false) => self.fill(Form::Narrow, count, |i, record: &mut [u64; 1]| {
                let (source, target, _) = at(i);
                record[0] = source << 32 | target;
            }),
            (true, true) => self.fill(Form::Narrow, count, |i, record: &mut [u64; 2]| {
                let (source, target, weight) = at(i);
                *record = [source << 32 | target, weight.to_bits()];
            }),
            (false, false) => self.fill(Form::Wide, count, |i, record: &mut [u64; 2]| {
                let (source, target, _) = at(i);
                *record = [source, target];
            }),
            (false, true) => self.fill(Form::Wide, count, |i, record: &mut [u64; 3]| {
                let (source, target, weight) = at(i);
                *record = [source, target, weight.to_bits()];
            }),
        }
    }

    /// Takes `count` vertices.
    ///
    /// # Errors
    /// As [`Intake::edges`].
    pub(crate) fn vertices(&mut self, count: usize, at: impl Fn(usize) -> u64) -> Result<()> {
        self.totals.bits |= (0..count).fold(0, |bits, i| bits | at(i));
        self.fill(Form::Vertices, count, |i, record: &mut [u64; 1]| record[0] = at(i))
    }

    fn fill<const W: usize>(&mut self, form: Form, count: usize, write: impl Fn(usize, &mut [u64; W])) -> Result<()> {
        debug_assert_eq!(W, stride(form, self.weighted));
        let mut done = 0;
        while done < count {
            let (mut block, filled) = match self.open[form as usize].take() {
                Some(open) => open,
                None => (self.maker.fresh().map_or_else(|| self.maker.scratch(), Ok)?, 0),
            };
            let (room, _) = block.large_mut()[filled..].as_chunks_mut::<W>();
            let here = room.len().min(count - done);
            for (i, record) in room[..here].iter_mut().enumerate() {
                write(done + i, record);
            }
            done += here;
            let filled = filled + here * W;
            if block.large().len() - filled < W {
                let (place, next) = self.maker.keep(block)?;
                self.chunks.push(Chunk { form, words: filled, ranked: false, place });
                self.open[form as usize] = Some((next, 0));
            } else {
                self.open[form as usize] = Some((block, filled));
            }
        }
        Ok(())
    }

    /// Ends the input of this worker.
    ///
    /// # Errors
    /// A block could not be written.
    pub(crate) fn finish(mut self) -> Result<(Vec<Chunk>, Totals)> {
        for form in [Form::Vertices, Form::Narrow, Form::Wide] {
            if let Some((block, words)) = self.open[form as usize].take()
                && words > 0
            {
                let place = self.maker.keep_last(block)?;
                self.chunks.push(Chunk { form, words, ranked: false, place });
            }
        }
        self.maker.settle(self.chunks.iter_mut().map(|chunk| &mut chunk.place))?;
        Ok((self.chunks, self.totals))
    }
}

impl Chunk {
    /// Calls `take` with the ends and the weight (0 where there is none) of each edge; ids, or ranks.
    ///
    /// # Errors
    /// Of reading it.
    #[inline]
    pub(crate) fn for_each_edge(
        &self,
        weighted: bool,
        reader: &mut BlockReader,
        mut take: impl FnMut(u64, u64, f64),
    ) -> Result<()> {
        let words: &[u64] = &bytemuck::cast_slice(reader.bytes(&self.place, 0)?)[..self.words];
        let halves = |word: u64| (word >> 32, word & 0xffff_ffff);
        match (self.form, weighted) {
            (Form::Vertices, _) => {}
            (Form::Narrow, false) => words.iter().for_each(|&word| {
                let (source, target) = halves(word);
                take(source, target, 0.0);
            }),
            (Form::Narrow, true) => words.as_chunks().0.iter().for_each(|&[word, weight]| {
                let (source, target) = halves(word);
                take(source, target, f64::from_bits(weight));
            }),
            (Form::Wide, false) => words.as_chunks().0.iter().for_each(|&[source, target]| take(source, target, 0.0)),
            (Form::Wide, true) => {
                words.as_chunks().0.iter().for_each(|&[source, target, weight]| take(source, target, f64::from_bits(weight)));
            }
        }
        Ok(())
    }

    /// Calls `take` with each vertex that is named here, in edges too.
    ///
    /// # Errors
    /// Of reading it.
    #[inline]
    pub(crate) fn for_each_vertex(&self, weighted: bool, reader: &mut BlockReader, mut take: impl FnMut(u64)) -> Result<()> {
        if self.form == Form::Vertices {
            let words: &[u64] = bytemuck::cast_slice(reader.bytes(&self.place, 0)?);
            words[..self.words].iter().for_each(|&id| take(id));
            return Ok(());
        }
        self.for_each_edge(weighted, reader, |source, target, _| {
            take(source);
            take(target);
        })
    }

    /// Replaces ids by ranks, in memory; calls `take` with the ranks of each edge. A chunk on disk keeps its ids.
    ///
    /// # Errors
    /// Of reading it.
    pub(crate) fn rank(
        &mut self,
        weighted: bool,
        reader: &mut BlockReader,
        rank: impl Fn(u64) -> u32,
        mut take: impl FnMut(u32, u32),
    ) -> Result<()> {
        let Place::Memory(block) = &mut self.place else {
            return self.for_each_edge(weighted, reader, |source, target, _| take(rank(source), rank(target)));
        };
        let from = stride(self.form, weighted);
        let words = block.large_mut();
        match (self.form, weighted) {
            (Form::Vertices, _) => return Ok(()),
            (Form::Narrow, false) => {
                for word in &mut words[..self.words] {
                    let (source, target) = unpack(*word);
                    let (source, target) = (rank(source.into()), rank(target.into()));
                    take(source, target);
                    *word = pack(source, target);
                }
            }
            (Form::Narrow, true) => {
                for [word, _] in words[..self.words].as_chunks_mut().0 {
                    let (source, target) = unpack(*word);
                    let (source, target) = (rank(source.into()), rank(target.into()));
                    take(source, target);
                    *word = pack(source, target);
                }
            }
            (Form::Wide, _) => {
                let to = stride(Form::Narrow, weighted);
                for edge in 0..self.words / from {
                    let (source, target) = (rank(words[edge * from]), rank(words[edge * from + 1]));
                    take(source, target);
                    words[edge * to] = pack(source, target);
                    if weighted {
                        words[edge * to + 1] = words[edge * from + 2];
                    }
                }
                self.words = self.words / from * to;
            }
        }
        (self.form, self.ranked) = (Form::Narrow, true);
        Ok(())
    }
}
