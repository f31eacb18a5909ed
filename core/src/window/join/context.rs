use super::side::Lists;
use crate::Result;
use crate::process::{OutputTag, Outputs};
use crate::state::KeyRef;
use crate::stream::Data;
use crate::window::contents::Fired;
use crate::window::function::{Firing, WindowFunction};
use crate::window::time_window::Window;
use fluvial_memory::NormalizedKey;
use std::marker::PhantomData;

/// What the function of a window join may know of a window, and where its results go.
pub struct CoGroupContext<'a, K, W, U> {
    key: KeyRef<'a>,
    window: &'a W,
    outputs: &'a mut Outputs<U>,
    record: PhantomData<fn() -> K>,
}

impl<'a, K: NormalizedKey, W: Window, U: Data> CoGroupContext<'a, K, W, U> {
    pub(super) fn new(key: KeyRef<'a>, window: &'a W, outputs: &'a mut Outputs<U>) -> Self {
        Self { key, window, outputs, record: PhantomData }
    }

    /// The key.
    pub fn key(&self) -> K {
        self.key.decode()
    }

    /// The window.
    pub fn window(&self) -> &W {
        self.window
    }

    /// Emits a record, with the window's last instant as event time.
    #[inline]
    pub fn emit(&mut self, record: U) {
        self.outputs.push(record, self.window.max_timestamp());
    }

    /// Emits a record on a side output, with the same event time.
    pub fn side<V: Data>(&mut self, tag: &OutputTag<V>, record: V) {
        self.outputs.push_side(tag, record, self.window.max_timestamp());
    }
}

/// Gives both lists of a window to the user's function.
pub(super) struct CoGroup<F, K, U> {
    f: F,
    record: PhantomData<fn() -> (K, U)>,
}

impl<F, K, U> CoGroup<F, K, U> {
    pub(super) fn new(f: F) -> Self {
        Self { f, record: PhantomData }
    }
}

impl<L, R, W, F, K, U> WindowFunction<Lists<L, R>, W> for CoGroup<F, K, U>
where
    L: Data,
    R: Data,
    W: Window,
    K: NormalizedKey + 'static,
    U: Data,
    F: Fn(&[L], &[R], &mut CoGroupContext<'_, K, W, U>) -> Result<()> + 'static,
{
    type Output = U;

    fn call(&mut self, fired: Fired<'_, Lists<L, R>>, firing: Firing<'_, W>, outputs: &mut Outputs<U>) -> Result<()> {
        let mut call = |lists: &Lists<L, R>| {
            (self.f)(&lists.left, &lists.right, &mut CoGroupContext::new(firing.key, firing.window, outputs))
        };
        match fired {
            Fired::One(lists) => call(&lists),
            Fired::All(all) => all.iter().try_for_each(call),
        }
    }
}
