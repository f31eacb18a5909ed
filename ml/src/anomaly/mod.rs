//! What does not look like the rest, record by record, without labels; and whether the rest has changed.
//!
//! | detector | paper or system |
//! |---|---|
//! | [`HalfSpaceTrees`] | Tan, Ting and Liu, Fast Anomaly Detection for Streaming Data, IJCAI 2011 |
//! | [`MovingStatistics`] | the windowed Gaussian detector of the Numenta Anomaly Benchmark (Lavin and Ahmad 2015) |
//! | [`Adwin`] | Bifet and Gavaldà, Learning from Time-Changing Data with Adaptive Windowing, SDM 2007 |

mod adwin;
mod half_space;
mod moving;

pub use adwin::{Adwin, AdwinParams};
pub use half_space::{HalfSpaceParams, HalfSpaceTrees};
pub use moving::{MovingParams, MovingStatistics};
