use fluvial_core::Data;
use std::fmt::Display;
use std::hash::Hash;

/// What names a vertex: `u64` or `String`.
///
/// Inside, vertices are numbered densely in the order of their ids, so that smaller ids are smaller numbers; results come back
/// in the user's ids, sorted.
pub trait VertexId: Data + Ord + Hash + Display + sealed::Sealed {}

impl VertexId for u64 {}
impl VertexId for String {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for String {}
}
