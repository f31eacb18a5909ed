use super::index::{Address, EXTENTS, OFFSET_BITS};
use super::run::{Run, RunFile};
use crate::{Error, Result};
use std::sync::Arc;

/// A part of a file that addresses count within.
struct Extent {
    file: Arc<RunFile>,
    /// Where it begins in the file.
    base: u64,
    /// Bytes of the entries in it that keys have now.
    live: u64,
}

/// A run of the state.
pub(super) struct Listed {
    pub(super) run: Arc<Run>,
    /// Its first extent.
    pub(super) first: usize,
}

/// The runs that the state of a table lies in, in the order of their sequence; and how addresses refer to them.
#[derive(Default)]
pub(super) struct Runs {
    pub(super) list: Vec<Listed>,
    extents: Vec<Option<Extent>>,
    /// Where a free extent is looked for.
    next: usize,
}

/// Extents of a file of so many bytes.
fn extents(bytes: u64) -> usize {
    (bytes >> OFFSET_BITS) as usize + 1
}

/// The address of an offset in a file whose extents begin with this one.
#[inline]
pub(super) fn address(first: usize, offset: u64) -> Address {
    // Extents of a file follow each other.
    ((first as u64) << OFFSET_BITS) + offset
}

#[inline]
pub(super) fn extent(at: Address) -> usize {
    (at >> OFFSET_BITS) as usize
}

impl Runs {
    /// Makes room for a file of at most so many bytes. Gives its first extent.
    ///
    /// # Errors
    /// There is none left.
    pub(super) fn open(&mut self, file: &Arc<RunFile>, bytes: u64) -> Result<usize> {
        let count = extents(bytes);
        let free = |extents: &[Option<Extent>], first: usize| {
            (first..first + count).all(|at| extents.get(at).is_none_or(Option::is_none))
        };
        let starts = (self.next..=EXTENTS.saturating_sub(count)).chain(0..self.next);
        let full = || Error::User(format!("state on disk: no room among {EXTENTS} extents for {count} more"));
        let first =
            starts.take(EXTENTS).find(|first| first + count <= EXTENTS && free(&self.extents, *first)).ok_or_else(full)?;
        if self.extents.len() < first + count {
            self.extents.resize_with(first + count, || None);
        }
        for at in 0..count {
            self.extents[first + at] = Some(Extent { file: file.clone(), base: (at as u64) << OFFSET_BITS, live: 0 });
        }
        self.next = (first + count) % EXTENTS;
        Ok(first)
    }

    /// Gives back the extents of a file.
    pub(super) fn close(&mut self, first: usize, file: &Arc<RunFile>) {
        let of_file = |extent: &Option<Extent>| extent.as_ref().is_some_and(|extent| Arc::ptr_eq(&extent.file, file));
        self.extents.iter_mut().skip(first).take_while(|extent| of_file(extent)).for_each(|extent| *extent = None);
    }

    /// Adds a run whose extents have been opened.
    pub(super) fn add(&mut self, run: Arc<Run>, first: usize) {
        let place = self.list.partition_point(|listed| listed.run.sequence <= run.sequence);
        self.list.insert(place, Listed { run, first });
    }

    /// The file and offset of an address.
    #[inline]
    pub(super) fn at(&self, at: Address) -> Option<(&RunFile, u64)> {
        let extent = self.extents.get(extent(at))?.as_ref()?;
        Some((&extent.file, extent.base + (at & ((1 << OFFSET_BITS) - 1))))
    }

    /// An entry of so many bytes at this address is a key's now.
    #[inline]
    pub(super) fn lives(&mut self, at: Address, bytes: u32) {
        if let Some(Some(extent)) = self.extents.get_mut(extent(at)) {
            extent.live += u64::from(bytes);
        }
    }

    /// It is no key's any more.
    #[inline]
    pub(super) fn dies(&mut self, at: Address, bytes: u32) {
        if let Some(Some(extent)) = self.extents.get_mut(extent(at)) {
            extent.live = extent.live.saturating_sub(u64::from(bytes));
        }
    }

    /// Bytes of a run that keys have now.
    pub(super) fn live(&self, listed: &Listed) -> u64 {
        let last = listed.first + extents(listed.run.bytes);
        self.extents.get(listed.first..last).map_or(0, |extents| extents.iter().flatten().map(|extent| extent.live).sum())
    }
}
