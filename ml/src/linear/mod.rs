//! Linear models: a weight a feature and an intercept; what differs is how they are learned.
//!
//! | learner | kind | paper |
//! |---|---|---|
//! | [`Ftrl`] | online, logistic, L1 and L2 | McMahan et al., Ad Click Prediction: a View from the Trenches, KDD 2013 |
//! | [`Sgd`] | online; hinge (SVM), logistic, squared loss | Bottou, Large-Scale Machine Learning with SGD, 2010; L1 by Tsuruoka et al., ACL 2009 |
//! | [`PassiveAggressive`] | online | Crammer et al., Online Passive-Aggressive Algorithms, JMLR 2006 |
//! | [`Pegasos`] | SVM, batch | Shalev-Shwartz et al., Pegasos, Math. Programming 2011 |
//! | [`DualSvm`] | SVM, batch | Hsieh et al., ICML 2008; over several parts: Jaggi et al. (CoCoA), NIPS 2014 |
//! | [`Proximal`] | logistic and linear regression, batch | Xiao and Zhang (prox-SVRG), SIAM J. Optim. 2014; Konečný et al. (parts), 2016 |
//!
//! The intercept is a weight of a feature that is always 1, learned like the others; it is never shrunk, except by the dual
//! method, whose variables it must be part of (as LIBLINEAR has it with `-B 1`).

mod dual;
mod ftrl;
mod loss;
mod model;
mod passive_aggressive;
mod pegasos;
mod proximal;
mod scaled;
mod schedule;
mod sgd;

pub use dual::{DualShared, DualSvm, DualSvmParams};
pub use ftrl::{Ftrl, FtrlParams};
pub use loss::Loss;
pub use model::{LinearModel, LinearTask};
pub use passive_aggressive::{Aggressiveness, PassiveAggressive, PassiveAggressiveParams};
pub use pegasos::{Pegasos, PegasosParams, PegasosShared};
pub use proximal::{Proximal, ProximalParams, ProximalShared, Regression};
pub use schedule::Schedule;
pub use sgd::{Sgd, SgdParams};

use crate::{Error, Result};

/// Whether weights are numbers still.
pub(crate) fn check_finite(learner: &'static str, records: u64, weights: &[f64], intercept: f64) -> Result<()> {
    let wrong = if intercept.is_finite() {
        weights.iter().position(|w| !w.is_finite()).map(|i| format!("the weight of feature {i} is {}", weights[i]))
    } else {
        Some(format!("the intercept is {intercept}"))
    };
    match wrong {
        Some(what) => Err(Error::Diverged { learner, records, what }),
        None => Ok(()),
    }
}

/// The mean of several arrays, each with a weight, and a share of the old value.
pub(crate) fn blend(own: &mut [f64], others: &[(f64, &[f64])], decay: f64) {
    let total: f64 = others.iter().map(|(weight, _)| weight).sum();
    if total == 0.0 {
        return;
    }
    own.iter_mut().for_each(|x| *x *= decay);
    for (weight, other) in others {
        crate::vector::axpy((1.0 - decay) * weight / total, other, own);
    }
}
