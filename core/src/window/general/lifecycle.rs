use super::keyed::WindowState;
use crate::Result;
use crate::process::{Outputs, TimeDomain};
use crate::state::KeyRef;
use crate::window::contents::WindowContents;
use crate::window::evictor::EvictorContext;
use crate::window::function::{Firing, WindowFunction};
use crate::window::time_window::{Window, cleanup_time};
use crate::window::timers::WindowTimers;
use crate::window::trigger::{Trigger, TriggerContext, TriggerResult};

/// What happens to one window of a key from its first record to its end.
pub(super) struct Lifecycle<W, G, C, F, U> {
    pub(super) trigger: G,
    pub(super) contents: C,
    pub(super) function: F,
    pub(super) timers: WindowTimers<W>,
    pub(super) outputs: Outputs<U>,
    /// Milliseconds; zero in processing time, where nothing is late.
    pub(super) lateness: i64,
}

impl<W: Window, G, C, F, U> Lifecycle<W, G, C, F, U> {
    /// When a window's state goes.
    fn cleanup(&self, window: &W) -> i64 {
        cleanup_time(window, self.lateness)
    }

    /// Whether a window takes no more records.
    pub(super) fn is_late(&self, window: &W) -> bool {
        self.timers.domain == TimeDomain::EventTime && self.cleanup(window) <= self.timers.watermark
    }

    /// A window that lasts for ever needs no timer at its end.
    fn lasts(window: &W) -> bool {
        window.max_timestamp() == i64::MAX
    }

    pub(super) fn set_cleanup(&mut self, key: KeyRef<'_>, window: &W) {
        if !Self::lasts(window) {
            self.timers.set(self.timers.domain, self.cleanup(window), key, window);
        }
    }

    fn delete_cleanup(&mut self, key: KeyRef<'_>, window: &W) {
        if !Self::lasts(window) {
            self.timers.delete(self.timers.domain, self.cleanup(window), key, window);
        }
    }

    /// A window begins.
    pub(super) fn open<S, H: Default>(&mut self, key: KeyRef<'_>, window: W) -> WindowState<W, S, H> {
        self.set_cleanup(key, &window);
        WindowState { window, contents: None, trigger: H::default() }
    }

    /// A window takes a record. Says whether it can be forgotten.
    pub(super) fn take<T>(
        &mut self,
        key: KeyRef<'_>,
        state: &mut WindowState<W, C::State, G::State>,
        record: T,
        time: i64,
    ) -> Result<bool>
    where
        G: Trigger<T, W>,
        C: WindowContents<T, W>,
        F: WindowFunction<C::Value, W, Output = U>,
    {
        let mut context = TriggerContext::new(key, &state.window, &mut self.timers);
        let result = self.trigger.on_record(&record, time, &mut state.trigger, &mut context);
        let contents = state.contents.get_or_insert_with(|| self.contents.create());
        self.contents.add(contents, record, time);
        self.act::<T>(key, state, result, false)?;
        Ok(Self::lasts(&state.window) && state.contents.is_none() && self.trigger.is_new(&state.trigger))
    }

    /// A timer of a window fires. Says whether the window has ended.
    pub(super) fn due<T>(
        &mut self,
        key: KeyRef<'_>,
        state: &mut WindowState<W, C::State, G::State>,
        domain: TimeDomain,
        time: i64,
    ) -> Result<bool>
    where
        G: Trigger<T, W>,
        C: WindowContents<T, W>,
        F: WindowFunction<C::Value, W, Output = U>,
    {
        let mut context = TriggerContext::new(key, &state.window, &mut self.timers);
        let result = match domain {
            TimeDomain::EventTime => self.trigger.on_event_time(time, &mut state.trigger, &mut context),
            TimeDomain::ProcessingTime => self.trigger.on_processing_time(time, &mut state.trigger, &mut context),
        };
        let ends = domain == self.timers.domain && time == self.cleanup(&state.window);
        self.act::<T>(key, state, result, ends)?;
        if ends {
            let mut context = TriggerContext::new(key, &state.window, &mut self.timers);
            self.trigger.clear(&state.trigger, &mut context);
            let Self { function, timers, outputs, .. } = self;
            let firing = Firing { key, window: &state.window, watermark: timers.watermark, now: timers.now };
            function.clear(firing, outputs)?;
        }
        Ok(ends)
    }

    /// Does what the trigger says; `last`: the window's records are not needed afterwards.
    fn act<T>(
        &mut self,
        key: KeyRef<'_>,
        state: &mut WindowState<W, C::State, G::State>,
        result: TriggerResult,
        last: bool,
    ) -> Result<()>
    where
        G: Trigger<T, W>,
        C: WindowContents<T, W>,
        F: WindowFunction<C::Value, W, Output = U>,
    {
        if result.fires() {
            let Self { contents, function, timers, outputs, .. } = self;
            let WindowState { window, contents: kept, .. } = state;
            let window = &*window;
            let (watermark, now) = (timers.watermark, timers.now);
            let evicting = EvictorContext { window, watermark, processing_time: now };
            contents.fire(kept, last || result.purges(), evicting, |fired| {
                function.call(fired, Firing { key, window, watermark, now }, outputs)
            })?;
        }
        if result.purges() {
            state.contents = None;
        }
        Ok(())
    }

    /// A window becomes a part of another.
    pub(super) fn retire<T>(&mut self, key: KeyRef<'_>, state: &WindowState<W, C::State, G::State>)
    where
        G: Trigger<T, W>,
        C: WindowContents<T, W>,
    {
        self.trigger.clear(&state.trigger, &mut TriggerContext::new(key, &state.window, &mut self.timers));
        self.delete_cleanup(key, &state.window);
    }

    /// Adds what a retired window has kept to an earlier one.
    pub(super) fn absorb<T>(&self, state: &mut WindowState<W, C::State, G::State>, other: WindowState<W, C::State, G::State>)
    where
        G: Trigger<T, W>,
        C: WindowContents<T, W>,
    {
        match (&mut state.contents, other.contents) {
            (Some(contents), Some(other)) => self.contents.merge(contents, other),
            (contents @ None, other) => *contents = other,
            (Some(_), None) => {}
        }
        self.trigger.merge_state(&mut state.trigger, other.trigger);
    }

    /// A window has come from merging.
    pub(super) fn merged<T>(&mut self, key: KeyRef<'_>, state: &mut WindowState<W, C::State, G::State>)
    where
        G: Trigger<T, W>,
        C: WindowContents<T, W>,
    {
        self.set_cleanup(key, &state.window);
        let mut context = TriggerContext::new(key, &state.window, &mut self.timers);
        self.trigger.on_merge(&mut state.trigger, &mut context);
    }
}
