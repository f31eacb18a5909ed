//! The kinds of join, the two sides of a join, and what a kind asks of the build and the probe side.

/// Which rows of two inputs a join keeps. Left and right are the user's sides; which of them is the build side does not
/// change the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Every pair of rows with equal keys.
    Inner,
    /// The pairs, and every left row without a partner.
    Left,
    /// The pairs, and every right row without a partner.
    Right,
    /// The pairs, and every row of either side without a partner.
    Full,
    /// Every left row with at least one partner, once.
    LeftSemi,
    /// Every left row without a partner.
    LeftAnti,
    /// Every right row with at least one partner, once.
    RightSemi,
    /// Every right row without a partner.
    RightAnti,
}

impl JoinKind {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Inner, Self::Left, Self::Right, Self::Full, Self::LeftSemi, Self::LeftAnti, Self::RightSemi, Self::RightAnti];

    /// Whether rows of `side` without a partner are part of the result.
    pub fn keeps_unmatched(self, side: Side) -> bool {
        match side {
            Side::Left => matches!(self, Self::Left | Self::Full | Self::LeftAnti),
            Side::Right => matches!(self, Self::Right | Self::Full | Self::RightAnti),
        }
    }

    /// Whether the result has rows in which `side` is missing beside a row of the other side.
    pub fn may_miss(self, side: Side) -> bool {
        self.pairs() && self.keeps_unmatched(side.other())
    }

    /// Whether the result is made of pairs: all kinds but semi and anti.
    pub fn pairs(self) -> bool {
        matches!(self, Self::Inner | Self::Left | Self::Right | Self::Full)
    }

    /// Whether the result has rows of `side`.
    pub fn emits(self, side: Side) -> bool {
        match side {
            Side::Left => !matches!(self, Self::RightSemi | Self::RightAnti),
            Side::Right => !matches!(self, Self::LeftSemi | Self::LeftAnti),
        }
    }

    /// Whether each row of `side` with a partner is part of the result once.
    pub(crate) fn keeps_matched(self, side: Side) -> bool {
        match side {
            Side::Left => self == Self::LeftSemi,
            Side::Right => self == Self::RightSemi,
        }
    }
}

/// One of the two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The left input.
    Left,
    /// The right input.
    Right,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// What a kind asks for once it is known which side is built and which one probes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles {
    /// Emit every pair.
    pub pairs: bool,
    /// Emit build rows that had a partner, once.
    pub build_matched: bool,
    /// Emit build rows that had none.
    pub build_unmatched: bool,
    /// Emit probe rows that have a partner, once.
    pub probe_matched: bool,
    /// Emit probe rows that have none.
    pub probe_unmatched: bool,
}

impl Roles {
    pub(crate) fn new(kind: JoinKind, build: Side) -> Self {
        let probe = build.other();
        Self {
            pairs: kind.pairs(),
            build_matched: kind.keeps_matched(build),
            build_unmatched: kind.keeps_unmatched(build),
            probe_matched: kind.keeps_matched(probe),
            probe_unmatched: kind.keeps_unmatched(probe),
        }
    }

    /// Whether a build row must remember that it had a partner.
    pub(crate) fn marks_build(&self) -> bool {
        self.build_matched || self.build_unmatched
    }
}
