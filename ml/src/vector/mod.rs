//! Feature vectors: one by one, and in blocks whose rows lie one after another.
//!
//! A learner sees a [`Row`]: borrowed, dense or sparse. Blocks ([`Rows`]) keep rows contiguous, so that a pass over them is a
//! pass over memory and a dense row's dot product vectorizes. Numbers are `f64` throughout: the learners' bounds are
//! arithmetic, not memory, and answers agree with references to the last digits.

mod kernels;
mod pages;
mod row;
mod rows;

pub(crate) use kernels::{Nearest, axpy};
pub use kernels::{argmin, dot, squared_distance};
pub(crate) use pages::{Pages, too_many};
pub use row::{Example, Row, SparseRow, Vector};
pub(crate) use rows::check_width;
pub use rows::{Block, DenseRows, Rows, SparseRows};
