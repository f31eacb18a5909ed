use fluvial_memory::Result;

/// How partial states of one key become one state.
///
/// A state is bytes: they lie in managed memory, are merged where they lie, travel between workers and to disk as they
/// are. The operators are generic over the aggregation, so `merge` is inlined into their loops.
///
/// States either all have one width, or vary ([`Aggregation::width`] is `None`). The first kind needs `init` and
/// `merge`, the second `merge_into` alone, and its empty state is no bytes at all.
///
/// ```
/// use fluvial_operators::aggregate::Aggregation;
/// /// Occurrences of a key.
/// struct Count;
/// impl Aggregation for Count {
///     fn width(&self) -> Option<usize> {
///         Some(8)
///     }
///     fn merge(&self, state: &mut [u8], other: &[u8]) -> fluvial_memory::Result<()> {
///         let sum = u64::from_le_bytes(state.try_into().unwrap()) + u64::from_le_bytes(other.try_into().unwrap());
///         state.copy_from_slice(&sum.to_le_bytes());
///         Ok(())
///     }
/// }
/// ```
pub trait Aggregation {
    /// Bytes of every state, or `None` if they vary.
    fn width(&self) -> Option<usize>;

    /// Writes the state of no records over `state`, which has [`Aggregation::width`] bytes. Zeros, unless overridden.
    fn init(&self, state: &mut [u8]) {
        state.fill(0);
    }

    /// Adds what `other` stands for to `state`. For states of fixed width.
    ///
    /// # Errors
    /// Where the two have no common state, as when a sum overflows.
    fn merge(&self, state: &mut [u8], other: &[u8]) -> Result<()>;

    /// Merges states that vary: either changes `state` where it is and returns false, or appends to `out`, which is empty,
    /// what replaces it, and returns true; `state` is then left as it was, since there may be no room for the other.
    ///
    /// # Errors
    /// As [`Aggregation::merge`].
    fn merge_into(&self, state: &mut [u8], other: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        out.extend_from_slice(state);
        self.merge(out, other)?;
        Ok(true)
    }
}

/// The aggregation that keeps only the keys: its states are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distinct;

impl Aggregation for Distinct {
    fn width(&self) -> Option<usize> {
        Some(0)
    }

    #[inline]
    fn merge(&self, _: &mut [u8], _: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl<A: Aggregation + ?Sized> Aggregation for std::sync::Arc<A> {
    fn width(&self) -> Option<usize> {
        (**self).width()
    }

    fn init(&self, state: &mut [u8]) {
        (**self).init(state);
    }

    fn merge(&self, state: &mut [u8], other: &[u8]) -> Result<()> {
        (**self).merge(state, other)
    }

    fn merge_into(&self, state: &mut [u8], other: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        (**self).merge_into(state, other, out)
    }
}
