use super::super::block::{Block, BlockMaker, Place};
use fluvial_core::Result;

/// Appends values to blocks.
pub(super) struct Appender {
    maker: BlockMaker,
    /// Made when it is needed.
    block: Option<Block>,
    /// Bytes of the block that are filled.
    filled: usize,
    places: Vec<Place>,
}

impl Appender {
    pub(super) fn new(maker: BlockMaker) -> Self {
        Self { maker, block: None, filled: 0, places: Vec::new() }
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let block = match &mut self.block {
                Some(block) => block,
                none => none.insert(self.maker.fresh().map_or_else(|| self.maker.scratch(), Ok)?),
            };
            let room: &mut [u8] = bytemuck::cast_slice_mut(&mut block.large_mut()[self.filled / 8..]);
            let room = &mut room[self.filled % 8..];
            let here = room.len().min(bytes.len());
            room[..here].copy_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
            self.filled += here;
            if self.filled == self.maker.bytes()
                && let Some(block) = self.block.take()
            {
                let (place, next) = self.maker.keep(block)?;
                self.places.push(place);
                (self.block, self.filled) = (Some(next), 0);
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<Place>> {
        if let Some(block) = self.block.take()
            && self.filled > 0
        {
            self.places.push(self.maker.keep_last(block)?);
        }
        self.maker.settle(self.places.iter_mut())?;
        Ok(self.places)
    }
}
