//! The process's tokio runtime: where sockets are read, streams are polled and asynchronous functions of users run, so
//! that no worker waits for them.

use crate::{Error, Result};
use std::sync::{Mutex, OnceLock};
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads of the runtime. What runs on it waits for others most of the time; the cores are the workers'.
const THREADS: usize = 2;

/// The runtime that all jobs of the process share, made by the first that asks and kept until the process ends.
///
/// # Errors
/// [`Error::User`] if its threads could not be started.
pub(crate) fn handle() -> Result<Handle> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle().clone());
    }
    let _making = MAKING.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle().clone());
    }
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("fluvial-tokio").enable_all().build();
    let runtime = runtime.map_err(|e| Error::User(format!("cannot start the threads of the asynchronous runtime: {e}")))?;
    Ok(RUNTIME.get_or_init(|| runtime).handle().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_callers_share_one_runtime() {
        assert_eq!(handle().unwrap().id(), handle().unwrap().id());
    }
}
