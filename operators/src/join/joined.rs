//! What a join hands out: two batches of rows side by side.

use super::kind::{JoinKind, Side};
use fluvial_memory::{KeyWidth, RowBatch, RowShape};

/// Rows of a join's result: row `i` of `left` is joined with row `i` of `right`.
///
/// Where a kind can leave a side without a partner, `left_missing` or `right_missing` says for which rows; the row there
/// is a placeholder of zeros (an empty key and no payload where widths vary). Semi and anti joins fill one side only.
#[derive(Clone, Debug)]
pub struct JoinedBatch {
    /// The left rows.
    pub left: RowBatch,
    /// The right rows.
    pub right: RowBatch,
    /// For right and full joins: whether the left row is a placeholder.
    pub left_missing: Option<Vec<bool>>,
    /// For left and full joins: whether the right row is a placeholder.
    pub right_missing: Option<Vec<bool>>,
    kind: JoinKind,
    placeholders: [Vec<u8>; 2],
}

impl JoinedBatch {
    /// An empty batch for the results of a join of this kind.
    pub fn new(kind: JoinKind, left: RowShape, right: RowShape) -> Self {
        Self {
            left: RowBatch::new(left),
            right: RowBatch::new(right),
            left_missing: kind.may_miss(Side::Left).then(Vec::new),
            right_missing: kind.may_miss(Side::Right).then(Vec::new),
            kind,
            placeholders: [placeholder(left), placeholder(right)],
        }
    }

    /// Number of rows of the result.
    pub fn len(&self) -> usize {
        if self.kind.emits(Side::Left) { self.left.len() } else { self.right.len() }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all rows on both sides.
    pub fn byte_len(&self) -> usize {
        self.left.byte_len() + self.right.byte_len()
    }

    /// Removes all rows and keeps the buffers.
    pub fn clear(&mut self) {
        self.left.clear();
        self.right.clear();
        self.left_missing.iter_mut().for_each(Vec::clear);
        self.right_missing.iter_mut().for_each(Vec::clear);
    }

    fn side(&mut self, side: Side) -> (&mut RowBatch, &mut Option<Vec<bool>>) {
        match side {
            Side::Left => (&mut self.left, &mut self.left_missing),
            Side::Right => (&mut self.right, &mut self.right_missing),
        }
    }

    /// A pair: `row` of `side` beside `partner` of the other side.
    #[inline]
    pub(crate) fn push_pair(&mut self, side: Side, row: &[u8], partner: &[u8]) {
        let (left, right) = match side {
            Side::Left => (row, partner),
            Side::Right => (partner, row),
        };
        self.left.push_row(left);
        self.right.push_row(right);
        if let Some(missing) = &mut self.left_missing {
            missing.push(false);
        }
        if let Some(missing) = &mut self.right_missing {
            missing.push(false);
        }
    }

    /// Rows of one width on either side: the first ones of `side`, absent where a row of the other side stands alone.
    pub(crate) fn push_matches<'a>(
        &mut self,
        side: Side,
        widths: [usize; 2],
        rows: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
        partners: impl ExactSizeIterator<Item = &'a [u8]>,
    ) {
        let placeholder = std::mem::take(&mut self.placeholders[side.index()]);
        let before = self.len();
        let (batch, missing) = self.side(side);
        match missing {
            Some(missing) => {
                let rows = rows.map(|row| {
                    missing.push(row.is_none());
                    row.unwrap_or(&placeholder)
                });
                batch.extend_fixed(widths[side.index()], rows);
            }
            None => batch.extend_fixed(widths[side.index()], rows.map(|row| row.unwrap_or(&placeholder))),
        }
        self.placeholders[side.index()] = placeholder;
        let (batch, missing) = self.side(side.other());
        let count = partners.len();
        batch.extend_fixed(widths[side.other().index()], partners);
        if let Some(missing) = missing {
            missing.resize(before + count, false);
        }
    }

    /// A row of `side` that stands alone: without a partner, or the result of a semi or anti join.
    #[inline]
    pub(crate) fn push_alone(&mut self, side: Side, row: &[u8]) {
        let pairs = self.kind.pairs();
        let (rows, missing) = self.side(side);
        rows.push_row(row);
        if !pairs {
            return;
        }
        if let Some(missing) = missing {
            missing.push(false);
        }
        let placeholder = std::mem::take(&mut self.placeholders[side.other().index()]);
        let (rows, missing) = self.side(side.other());
        rows.push_row(&placeholder);
        if let Some(missing) = missing {
            missing.push(true);
        }
        self.placeholders[side.other().index()] = placeholder;
    }
}

fn placeholder(shape: RowShape) -> Vec<u8> {
    let width = shape.row.unwrap_or(match shape.key {
        KeyWidth::Fixed(n) => n,
        KeyWidth::Variable => 4,
    });
    vec![0; width]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_alone_stands_beside_a_placeholder_unless_the_kind_has_one_side_only() {
        let (left, right) = (RowShape::fixed(2, 1), RowShape::VARIABLE);
        let mut batch = JoinedBatch::new(JoinKind::Full, left, right);
        batch.push_alone(Side::Left, b"k1a");
        batch.push_alone(Side::Right, b"\x02\0\0\0k2bb");
        batch.push_pair(Side::Right, b"\x02\0\0\0k3", b"k3c");
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.left_missing.as_deref(), Some(&[false, true, false][..]));
        assert_eq!(batch.right_missing.as_deref(), Some(&[true, false, false][..]));
        assert_eq!(batch.left.row(1), b"\0\0\0");
        assert_eq!(batch.right.key(0), b"");
        assert_eq!((batch.left.row(2), batch.right.key(2)), (&b"k3c"[..], &b"k3"[..]));
        batch.clear();
        assert!(batch.is_empty());
        let mut batch = JoinedBatch::new(JoinKind::RightAnti, left, right);
        batch.push_alone(Side::Right, b"\0\0\0\0");
        assert_eq!((batch.len(), batch.left.len()), (1, 0));
        assert!(batch.left_missing.is_none() && batch.right_missing.is_none());
    }
}
