//! The `fluvial` command.

use std::ffi::c_long;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, which the bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Milliseconds after which freed pages go back to the system. By default a second's worth of freed batches stays resident, tens of
/// megabytes that `--memory` does not know of. `MIMALLOC_PURGE_DELAY` still has the last word.
const PURGE_AFTER: c_long = 10;

fn main() -> ExitCode {
    // SAFETY: sets a number in the allocator's table of options, which checks the index; no other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_AFTER) };
    fluvial::cli::main()
}
