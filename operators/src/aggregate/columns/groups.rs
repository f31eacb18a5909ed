/// The states of the groups that the rows of a batch belong to, one a row; rows of one group name the same bytes.
///
/// The states lie in pages of managed memory or in a batch under construction, so they are named by pointers. Only one
/// of them is borrowed at a time.
pub(in crate::aggregate) struct Groups<'a> {
    states: &'a [*mut u8],
    width: usize,
}

impl<'a> Groups<'a> {
    /// # Safety
    /// Each pointer is good for reads and writes of `width` bytes while this lives, and no reference to them is alive.
    pub(in crate::aggregate) unsafe fn new(states: &'a [*mut u8], width: usize) -> Self {
        Self { states, width }
    }

    /// Number of rows.
    pub(in crate::aggregate) fn len(&self) -> usize {
        self.states.len()
    }

    /// `length` bytes at `offset` in the state of a row's group.
    #[inline(always)]
    pub(in crate::aggregate) fn at(&mut self, row: usize, offset: usize, length: usize) -> &mut [u8] {
        assert!(offset + length <= self.width, "a field lies within its state");
        // SAFETY: the pointer is good for `width` bytes, as `new` was promised, and `&mut self` allows one borrow at a time.
        unsafe { std::slice::from_raw_parts_mut(self.states[row].add(offset), length) }
    }
}
