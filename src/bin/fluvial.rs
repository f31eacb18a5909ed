//! The `fluvial` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`: milliseconds after which freed pages go back to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    // mimalloc's default is a second, in which batches of megabytes that come and go add up: grouping lineitem at scale 10
    // in 256 MiB peaks at 365 MB resident with it and at 331 MB with 10 ms, for the same processor time.
    // SAFETY: sets a number that mimalloc reads from time to time, unless the environment has set it; no other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 10) };
    fluvial::cli::main()
}
