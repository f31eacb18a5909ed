use crate::parameters::choice;

choice! {
    /// What a wrong prediction costs. `m` is label times score for the losses of two classes.
    Loss {
        /// `max(0, 1 - m)`: support vector machines.
        Hinge = "hinge",
        /// `log(1 + exp(-m))`: logistic regression.
        Logistic = "logistic",
        /// `(score - label)^2 / 2`: linear regression.
        Squared = "squared",
    }
}

impl Loss {
    /// The loss of a score.
    #[inline]
    pub fn value(self, score: f64, label: f64) -> f64 {
        match self {
            Self::Hinge => (1.0 - score * label).max(0.0),
            Self::Logistic => softplus(-score * label),
            Self::Squared => (score - label) * (score - label) / 2.0,
        }
    }

    /// Its derivative by the score.
    #[inline]
    pub fn slope(self, score: f64, label: f64) -> f64 {
        match self {
            Self::Hinge if score * label < 1.0 => -label,
            Self::Hinge => 0.0,
            Self::Logistic => -label * sigmoid(-score * label),
            Self::Squared => score - label,
        }
    }

    /// 1 or -1 for the losses of two classes: what is above 0 counts as 1.
    #[inline]
    pub fn target(self, label: f64) -> f64 {
        match self {
            Self::Squared => label,
            _ if label > 0.0 => 1.0,
            _ => -1.0,
        }
    }
}

/// The logistic function, exact at both ends.
#[inline]
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// `log(1 + exp(x))` without overflow.
#[inline]
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_the_derivatives() {
        for loss in [Loss::Hinge, Loss::Logistic, Loss::Squared] {
            for label in [-1.0, 1.0] {
                for score in [-40.0, -2.0, -0.3, 0.7, 3.0, 40.0] {
                    let h = 1e-6;
                    let numeric = (loss.value(score + h, label) - loss.value(score - h, label)) / (2.0 * h);
                    assert!((numeric - loss.slope(score, label)).abs() < 1e-6, "{loss} at {score}, {label}");
                }
            }
        }
        assert_eq!((sigmoid(800.0), sigmoid(-800.0), softplus(-800.0), softplus(800.0)), (1.0, 0.0, 0.0, 800.0));
    }
}
