//! A tournament of sorted inputs: the inner nodes keep the losers, so a new head meets one opponent a level.

/// The head of an input: 16 bytes of key, then the input's number, which decides between equal keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    high: u64,
    low: u64,
    input: u64,
}

/// Set in the input of a node that has no row: behind every row, whatever its key.
const EXHAUSTED: u64 = 1 << 63;

impl Node {
    #[inline]
    pub(super) fn new(prefix: u128, input: usize) -> Self {
        Self { high: (prefix >> 64) as u64, low: prefix as u64, input: input as u64 }
    }

    pub(super) fn exhausted(input: usize) -> Self {
        Self { high: u64::MAX, low: u64::MAX, input: input as u64 | EXHAUSTED }
    }

    #[inline]
    pub(super) fn prefix(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    #[inline]
    pub(super) fn input(&self) -> usize {
        (self.input & !EXHAUSTED) as usize
    }

    #[inline]
    pub(super) fn is_exhausted(&self) -> bool {
        self.input & EXHAUSTED != 0
    }
}

/// Decides between two inputs whose heads have equal prefixes: whether the first comes first.
pub(super) trait Ties {
    /// Whether it needs to be asked.
    const ASK: bool;
    fn first(&self, a: usize, b: usize) -> bool;
}

/// Equal prefixes are equal keys: the input's number decides.
pub(super) struct ByInput;

impl Ties for ByInput {
    const ASK: bool = false;
    #[inline]
    fn first(&self, a: usize, b: usize) -> bool {
        a < b
    }
}

/// Whole keys decide, found by a function of the input.
pub(super) struct ByKey<F>(pub(super) F);

impl<'a, F: Fn(usize) -> &'a [u8]> Ties for ByKey<F> {
    const ASK: bool = true;
    #[inline]
    fn first(&self, a: usize, b: usize) -> bool {
        ((self.0)(a), a) < ((self.0)(b), b)
    }
}

#[derive(Debug)]
pub(super) struct LoserTree {
    /// Losers at 1..inputs; input i is a leaf below node (inputs + i) / 2.
    losers: Vec<Node>,
    winner: Node,
}

impl LoserTree {
    /// Plays the heads of all inputs, in order of their numbers.
    pub(super) fn new(heads: &[Node], ties: &impl Ties) -> Self {
        let inputs = heads.len();
        let none = Node::exhausted(usize::MAX >> 1);
        // Winners of the subtrees, from the leaves up.
        let mut winners = vec![none; 2 * inputs.max(1)];
        winners[inputs..2 * inputs].copy_from_slice(heads);
        let mut losers = vec![none; inputs.max(1)];
        for at in (1..inputs).rev() {
            let (a, b) = (winners[2 * at], winners[2 * at + 1]);
            let a_first = before(&a, &b, ties);
            (winners[at], losers[at]) = if a_first { (a, b) } else { (b, a) };
        }
        Self { losers, winner: winners[usize::from(inputs > 0)] }
    }

    /// The first of all heads.
    #[inline]
    pub(super) fn winner(&self) -> &Node {
        &self.winner
    }

    /// Replaces the winner by the new head of its input.
    #[inline]
    pub(super) fn replace(&mut self, head: Node, ties: &impl Ties) {
        let mut current = head;
        let mut at = (self.losers.len() + head.input()) / 2;
        while at > 0 {
            let loser = &mut self.losers[at];
            let up = before(loser, &current, ties);
            // Both values are moved either way, which leaves no branch to mispredict.
            let (win, lose) = (if up { *loser } else { current }, if up { current } else { *loser });
            *loser = lose;
            current = win;
            at /= 2;
        }
        self.winner = current;
    }
}

#[inline]
fn before<T: Ties>(a: &Node, b: &Node, ties: &T) -> bool {
    let (p, q) = (a.prefix(), b.prefix());
    if T::ASK && p == q && !a.is_exhausted() && !b.is_exhausted() {
        return ties.first(a.input(), b.input());
    }
    (p < q) | ((p == q) & (a.input < b.input))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merges_like_a_stable_sort(inputs in prop::collection::vec(prop::collection::vec(prop_oneof![0u128..9, Just(u128::MAX)], 0..20), 0..40)) {
            let inputs: Vec<Vec<u128>> = inputs.into_iter().map(|mut v| { v.sort(); v }).collect();
            let mut next = vec![0; inputs.len()];
            let mut head = |i: usize| {
                next[i] += 1;
                inputs[i].get(next[i] - 1).map_or(Node::exhausted(i), |&k| Node::new(k, i))
            };
            let heads: Vec<_> = (0..inputs.len()).map(&mut head).collect();
            let mut tree = LoserTree::new(&heads, &ByInput);
            let mut merged = Vec::new();
            while !tree.winner().is_exhausted() {
                let i = tree.winner().input();
                merged.push((tree.winner().prefix(), i));
                tree.replace(head(i), &ByInput);
            }
            let mut expected: Vec<_> =
                inputs.iter().enumerate().flat_map(|(i, v)| v.iter().map(move |&k| (k, i))).collect();
            expected.sort();
            prop_assert_eq!(merged, expected);
        }
    }
}
