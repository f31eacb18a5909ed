//! Where results go: into the batch being pulled, or into a number.

use super::env::Stored;
use super::joined::JoinedBatch;
use super::kind::Side;

/// Bytes beyond which a batch is full, whatever its rows: rows can be megabytes long.
const MAX_BYTES: usize = 1 << 20;

/// Takes the results of one pull.
pub(crate) struct Emitter<'a> {
    pub out: &'a mut JoinedBatch,
    pub max_rows: usize,
    /// `Some` where only the number of results is asked for.
    pub count: Option<&'a mut u128>,
}

impl Emitter<'_> {
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() >= self.max_rows || self.out.byte_len() >= MAX_BYTES
    }

    /// How many results of so many bytes there is room for; one at least unless it is full.
    pub(crate) fn room(&self, bytes: usize) -> usize {
        if self.is_full() {
            return 0;
        }
        let fit = (MAX_BYTES - self.out.byte_len()) / bytes.max(1);
        (self.max_rows - self.out.len()).min(fit.max(1))
    }

    /// Rows of fixed widths, build side first: the build rows, absent where a probe row stands alone, and the probe rows.
    pub(crate) fn pairs<'a>(
        &mut self,
        build: Side,
        [build_width, probe_width]: [usize; 2],
        build_rows: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
        probe_rows: impl ExactSizeIterator<Item = &'a [u8]>,
    ) {
        let widths = if build == Side::Left { [build_width, probe_width] } else { [probe_width, build_width] };
        self.out.push_matches(build, widths, build_rows, probe_rows);
    }

    /// A pair of stored rows, the first of `side`.
    #[inline]
    pub(crate) fn pair(&mut self, side: Side, form: Stored, row: &[u8], partner_form: Stored, partner: &[u8]) {
        match &mut self.count {
            None => self.out.push_pair(side, row, partner),
            Some(count) => **count += u128::from(form.count(row)) * u128::from(partner_form.count(partner)),
        }
    }

    /// A stored row of `side` without a partner, or of a semi or anti join.
    #[inline]
    pub(crate) fn alone(&mut self, side: Side, form: Stored, row: &[u8]) {
        match &mut self.count {
            None => self.out.push_alone(side, row),
            Some(count) => **count += u128::from(form.count(row)),
        }
    }
}
