use crate::parameters::choice;

choice! {
    /// How the learning rate changes with the number `t` of the record, from 1.
    Schedule {
        /// Always the rate given: keeps adapting.
        Constant = "constant",
        /// `rate / t^power`.
        InverseScaling = "inverse-scaling",
        /// `1 / (l2 * (t + t0))`, where `t0` makes the first one the rate given (Bottou 2010); needs an L2 penalty.
        Optimal = "optimal",
    }
}

impl Schedule {
    /// The rate of record `t`.
    #[inline]
    pub fn rate(self, rate: f64, power: f64, l2: f64, t: f64) -> f64 {
        match self {
            Self::Constant => rate,
            Self::InverseScaling => rate / t.powf(power),
            Self::Optimal => rate / (1.0 + rate * l2 * (t - 1.0)),
        }
    }
}
