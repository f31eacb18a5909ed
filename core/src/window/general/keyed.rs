use super::lifecycle::Lifecycle;
use crate::state::KeyRef;
use crate::window::contents::WindowContents;
use crate::window::time_window::Window;
use crate::window::trigger::Trigger;
use serde::{Deserialize, Serialize};

/// What is kept of a window.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct WindowState<W, C, G> {
    pub(super) window: W,
    /// Its records; `None` at first and when they were purged.
    pub(super) contents: Option<C>,
    pub(super) trigger: G,
}

/// The windows of a key, in their order. Where they merge, no two of them overlap.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeyWindows<W, C, G> {
    windows: Vec<WindowState<W, C, G>>,
}

impl<W, C, G> Default for KeyWindows<W, C, G> {
    fn default() -> Self {
        Self { windows: Vec::new() }
    }
}

impl<W: Window, C, G> KeyWindows<W, C, G> {
    pub(super) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    fn place(&self, window: &W) -> Result<usize, usize> {
        // Records mostly belong to the last windows of their key.
        match self.windows.last() {
            Some(last) if last.window < *window => Err(self.windows.len()),
            Some(last) if last.window == *window => Ok(self.windows.len() - 1),
            _ => self.windows.binary_search_by(|state| state.window.cmp(window)),
        }
    }

    pub(super) fn find(&self, window: &W) -> Option<usize> {
        self.place(window).ok()
    }

    pub(super) fn at(&mut self, place: usize) -> &mut WindowState<W, C, G> {
        &mut self.windows[place]
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.windows.remove(place);
    }

    /// The place of a window, which begins if it is not there.
    pub(super) fn find_or_open(&mut self, window: &W, open: impl FnOnce(W) -> WindowState<W, C, G>) -> usize {
        self.place(window).unwrap_or_else(|place| {
            self.windows.insert(place, open(window.clone()));
            place
        })
    }

    /// The place of the window that a window becomes a part of: all that overlap it become one.
    pub(super) fn merge<T, H, K, F, U>(
        &mut self,
        window: &W,
        key: KeyRef<'_>,
        lifecycle: &mut Lifecycle<W, H, K, F, U>,
    ) -> Option<usize>
    where
        H: Trigger<T, W, State = G>,
        K: WindowContents<T, W, State = C>,
        G: Default,
    {
        let mut overlapped = self.windows.iter().enumerate().filter(|(_, state)| state.window.overlaps(window));
        let Some((first, state)) = overlapped.next() else {
            return (!lifecycle.is_late(window)).then(|| self.find_or_open(window, |window| lifecycle.open(key, window)));
        };
        let mut cover = state.window.cover(window);
        let mut single = true;
        for (_, state) in overlapped {
            single = false;
            cover = cover.cover(&state.window);
        }
        if single && cover == self.windows[first].window {
            return Some(first);
        }
        let mut merged: Option<WindowState<W, C, G>> = None;
        for old in self.windows.extract_if(first.., |state| state.window.overlaps(window)) {
            lifecycle.retire::<T>(key, &old);
            match &mut merged {
                None => merged = Some(old),
                Some(merged) => lifecycle.absorb::<T>(merged, old),
            }
        }
        let mut merged = merged?;
        merged.window = cover;
        lifecycle.merged::<T>(key, &mut merged);
        let place = self.place(&merged.window).unwrap_or_else(|place| place);
        self.windows.insert(place, merged);
        Some(place)
    }
}
