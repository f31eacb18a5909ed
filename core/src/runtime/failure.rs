//! Panics: of users' functions (they fail the job, with the operator's name) and of the substrate's network threads (a
//! peer is gone). Both become one error instead of the default hook's lines on stderr.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};

thread_local! {
    /// Whether this thread is in a call whose panic will be caught and reported.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Where the last caught panic happened.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
    /// On a network thread: who is told that its peer is gone.
    static PEER: RefCell<Option<PeerWatch>> = const { RefCell::new(None) };
}

/// Told of the message of the panic with which a network thread ends.
pub(super) type PeerWatch = Arc<dyn Fn(&str) + Send + Sync>;

/// Marks this thread as a network thread.
pub(super) fn watch_peer(watch: PeerWatch) {
    PEER.with(|peer| *peer.borrow_mut() = Some(watch));
}

/// Puts our hook in front of the one that is there. Once a process.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let watch = PEER.try_with(|peer| peer.borrow().clone()).ok().flatten();
            if let Some(watch) = watch {
                watch(&text(info.payload()));
            } else if GUARDED.try_with(Cell::get).unwrap_or(false) {
                let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
                PLACE.with(|p| *p.borrow_mut() = place);
            } else {
                previous(info);
            }
        }));
    });
}

/// Calls `f`; a panic comes back as its message and place.
pub(crate) fn guard<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(outer);
    result.map_err(|payload| {
        let place = PLACE.with(|p| std::mem::take(&mut *p.borrow_mut()));
        let text = text(&*payload);
        // A payload's own destructor may panic; it is not worth another panic.
        std::mem::forget(payload);
        if place.is_empty() { text } else { format!("{text} (at {place})") }
    })
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_as_text_with_its_place() {
        install_hook();
        let message = guard(|| -> () { panic!("boom {}", 7) }).unwrap_err();
        assert!(message.starts_with("boom 7 (at ") && message.contains("failure.rs"), "{message}");
        assert_eq!(guard(|| 3), Ok(3));
    }
}
