//! Windows driven by hand.
