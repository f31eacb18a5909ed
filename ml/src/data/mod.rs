//! Data in the forms that learners take: named columns ([`Frame`]) out of Arrow batches, blocks of rows out of frames, and LIBSVM
//! files.

mod frame;
mod labels;
mod libsvm;

pub use frame::{Column, Frame};
pub use labels::Labels;
pub use libsvm::{LibSvm, read_libsvm, write_libsvm};
