/// How surprising it is that two events come together as often as they do, were they independent (Dunning 1993): the log-likelihood
/// ratio of a table of counts, of both (`k11`), one without the other (`k12`, `k21`) and neither (`k22`). 0 for what chance gives.
///
/// ```
/// let ratio = fluvial_ml::log_likelihood_ratio(1000, 1995, 1000, 100_000);
/// assert!((ratio - 4730.7368).abs() < 1e-4);
/// assert_eq!(fluvial_ml::log_likelihood_ratio(1, 1, 1, 1), 0.0);
/// ```
pub fn log_likelihood_ratio(k11: u64, k12: u64, k21: u64, k22: u64) -> f64 {
    let whole = x_log_x(k11 + k12 + k21 + k22);
    let rows = whole - x_log_x(k11 + k12) - x_log_x(k21 + k22);
    let columns = whole - x_log_x(k11 + k21) - x_log_x(k12 + k22);
    let cells = whole - x_log_x(k11) - x_log_x(k12) - x_log_x(k21) - x_log_x(k22);
    // Rounding can make it a little less than nothing.
    (2.0 * (rows + columns - cells)).max(0.0)
}

fn x_log_x(x: u64) -> f64 {
    if x == 0 { 0.0 } else { x as f64 * (x as f64).ln() }
}

/// The ratio of two items that `together` users have, of `a` and `b` users that have each, of `users` in all. 0 where they come together
/// no more often than by chance: that users of one avoid the other is as surprising, but nothing to recommend it for.
pub(super) fn of_counts(together: u64, a: u64, b: u64, users: u64) -> f64 {
    if u128::from(together) * u128::from(users) <= u128::from(a) * u128::from(b) {
        return 0.0;
    }
    let neither = (users + together).saturating_sub(a + b);
    log_likelihood_ratio(together, a.saturating_sub(together), b.saturating_sub(together), neither)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_published_ones() {
        for ((k11, k12, k21, k22), expected) in [
            ((1, 0, 0, 1), 2.772_588_7),
            ((10, 0, 0, 10), 27.725_887),
            ((5, 1995, 0, 100_000), 39.330_522),
            ((1000, 1995, 1000, 100_000), 4_730.736_8),
            ((1000, 1000, 1000, 100_000), 5_734.342_5),
            ((1000, 1000, 1000, 99_000), 5_714.932),
        ] {
            let ratio = log_likelihood_ratio(k11, k12, k21, k22);
            assert!((ratio - expected).abs() < expected * 1e-6, "{k11} {k12} {k21} {k22}: {ratio}");
        }
    }
}
