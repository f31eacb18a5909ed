//! What a window's function is given, and what it may do.

use super::contents::Fired;
use super::time_window::{Window, Windowed};
use crate::graph::TaskContext;
use crate::process::{OutputTag, Outputs};
use crate::state::{KeyRef, KeyedState, MapState};
use crate::stream::Data;
use crate::{Error, Result, Snapshot, StateSection};
use fluvial_memory::NormalizedKey;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

/// A function over the records of a window, or over what they were aggregated to.
///
/// ```
/// use fluvial_core::*;
/// use std::time::Duration;
///
/// /// The median of each window, and how many windows its key has had before.
/// struct Median {
///     windows: ValueState<u32>,
/// }
/// impl ProcessWindowFunction<u8, u64, TimeWindow> for Median {
///     type Output = (u64, u32);
///     fn process(&mut self, records: &[u64], context: &mut WindowContext<'_, u8, TimeWindow, (u64, u32)>) -> Result<()> {
///         let mut sorted = records.to_vec();
///         sorted.sort();
///         let before = self.windows.get().unwrap_or(0);
///         self.windows.set(before + 1);
///         context.emit((sorted[sorted.len() / 2], before));
///         Ok(())
///     }
/// }
///
/// # let env = Env::default();
/// let numbers = env.from_collection([1u64, 2, 9, 10, 14, 18]);
/// let medians = numbers
///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|n: &u64| *n as i64))
///     .key_by(|_| 0u8)
///     .window(Tumbling::of(Duration::from_millis(10)))
///     .process(|states| Ok(Median { windows: states.of_key().value("windows")? }));
/// assert_eq!(medians.collect()?, [(2, 0), (14, 1)]);
/// # Ok::<(), Error>(())
/// ```
pub trait ProcessWindowFunction<K, T, W>: 'static {
    /// What it emits.
    type Output: Data;

    /// The window fires. After an aggregation `records` is its one result.
    ///
    /// # Errors
    /// The first error fails the job and names the operator.
    fn process(&mut self, records: &[T], context: &mut WindowContext<'_, K, W, Self::Output>) -> Result<()>;

    /// The window ends. Its own state is removed afterwards; remove what it has put into the key's.
    ///
    /// # Errors
    /// As for `process`.
    fn clear(&mut self, context: &mut WindowContext<'_, K, W, Self::Output>) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

/// What a window's function may know and do.
pub struct WindowContext<'a, K, W, U> {
    firing: Firing<'a, W>,
    outputs: &'a mut Outputs<U>,
    key: PhantomData<fn() -> K>,
}

impl<K: NormalizedKey, W: Window, U: Data> WindowContext<'_, K, W, U> {
    /// The key.
    pub fn key(&self) -> K {
        self.firing.key.decode()
    }

    /// The window.
    pub fn window(&self) -> &W {
        self.firing.window
    }

    /// The operator's watermark: only records later than it follow, or ones that are late. `i64::MIN` at first.
    pub fn watermark(&self) -> i64 {
        self.firing.watermark
    }

    /// The clock's time, milliseconds UTC.
    pub fn processing_time(&self) -> i64 {
        self.firing.now
    }

    /// Emits a record, with the window's last instant as event time.
    pub fn emit(&mut self, record: U) {
        self.outputs.push(record, self.firing.window.max_timestamp());
    }

    /// Emits a record on a side output.
    pub fn side<V: Data>(&mut self, tag: &OutputTag<V>, record: V) {
        self.outputs.push_side(tag, record, self.firing.window.max_timestamp());
    }
}

/// The state of a window's function: of each key, and of each window of a key.
pub struct WindowStates<W> {
    keyed: KeyedState,
    window: Rc<RefCell<Option<W>>>,
    /// Each removes the current window's value of one state.
    clear: Vec<Box<dyn Fn()>>,
    merges: bool,
}

impl<W: Window> WindowStates<W> {
    /// The state of the key, which all its windows share.
    pub fn of_key(&mut self) -> &mut KeyedState {
        &mut self.keyed
    }

    /// A value of each window, removed when the window ends.
    ///
    /// # Errors
    /// The name is taken; the windows merge, and nobody could say what becomes of their values.
    pub fn of_window<V: Data>(&mut self, name: &str) -> Result<WindowValueState<W, V>> {
        if self.merges {
            return Err(Error::Plan(format!("state `{name}` of each window: the windows merge; keep state of the key instead")));
        }
        let values: Rc<MapState<W, V>> = Rc::new(self.keyed.map(name)?);
        let state = WindowValueState { values, window: self.window.clone() };
        let cleared = WindowValueState { values: state.values.clone(), window: self.window.clone() };
        self.clear.push(Box::new(move || drop(cleared.take())));
        Ok(state)
    }
}

/// A value of each window of a key.
pub struct WindowValueState<W, V> {
    values: Rc<MapState<W, V>>,
    /// The window in hand; there is one while a function runs.
    window: Rc<RefCell<Option<W>>>,
}

impl<W: Window, V: Data> WindowValueState<W, V> {
    /// The window's value.
    pub fn get(&self) -> Option<V> {
        self.window.borrow().as_ref().and_then(|window| self.values.get(window))
    }

    /// Sets the window's value.
    pub fn set(&self, value: V) {
        if let Some(window) = self.window.borrow().as_ref() {
            self.values.insert(window.clone(), value);
        }
    }

    /// Removes the window's value and gives it.
    pub fn take(&self) -> Option<V> {
        self.window.borrow().as_ref().and_then(|window| self.values.remove(window))
    }
}

/// A window of a key that fires or ends.
pub(super) struct Firing<'a, W> {
    pub(super) key: KeyRef<'a>,
    pub(super) window: &'a W,
    pub(super) watermark: i64,
    pub(super) now: i64,
}

/// What becomes of what a window gives.
pub(super) trait WindowFunction<V, W>: 'static {
    type Output: Data;
    fn call(&mut self, fired: Fired<'_, V>, firing: Firing<'_, W>, outputs: &mut Outputs<Self::Output>) -> Result<()>;
    /// The window ends.
    fn clear(&mut self, firing: Firing<'_, W>, outputs: &mut Outputs<Self::Output>) -> Result<()> {
        let _ = (firing, outputs);
        Ok(())
    }
    fn snapshot(&self, into: &mut Snapshot) -> Result<()> {
        let _ = into;
        Ok(())
    }
    /// Takes back a section, if it is of its state.
    fn restore(&mut self, section: &StateSection) -> Result<bool> {
        let _ = section;
        Ok(false)
    }
    /// All sections have been taken back.
    fn restored(&mut self) -> Result<()> {
        Ok(())
    }
    /// Whether its state could be read and written.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// The results of aggregations beside their keys and windows.
pub(super) struct Results<K>(pub(super) PhantomData<fn() -> K>);

impl<K: NormalizedKey + Data, V: Data, W: Window> WindowFunction<V, W> for Results<K> {
    type Output = Windowed<K, W, V>;

    #[inline]
    fn call(&mut self, fired: Fired<'_, V>, firing: Firing<'_, W>, outputs: &mut Outputs<Self::Output>) -> Result<()> {
        let result = |value| Windowed { key: firing.key.decode(), window: firing.window.clone(), value };
        let time = firing.window.max_timestamp();
        match fired {
            Fired::One(value) => outputs.push(result(value), time),
            Fired::All(values) => values.iter().cloned().for_each(|value| outputs.push(result(value), time)),
        }
        Ok(())
    }
}

/// A user's function with its state.
pub(super) struct Processed<K, W, F> {
    function: F,
    states: WindowStates<W>,
    key: PhantomData<fn() -> K>,
}

impl<K, W: Window, F> Processed<K, W, F> {
    pub(super) fn new(make: impl FnOnce(&mut WindowStates<W>) -> Result<F>, merges: bool, context: &TaskContext) -> Result<Self> {
        let keyed = KeyedState::new(context.state_scope(), context.clock().clone(), context.keys().clone());
        let mut states = WindowStates { keyed, window: Rc::default(), clear: Vec::new(), merges };
        Ok(Self { function: make(&mut states)?, states, key: PhantomData })
    }

    /// Turns the states to the window in hand.
    fn look_at(&self, firing: &Firing<'_, W>) {
        self.states.keyed.current().set(firing.key.bytes);
        if !self.states.clear.is_empty() {
            *self.states.window.borrow_mut() = Some(firing.window.clone());
        }
    }
}

impl<K, V, W, F> WindowFunction<V, W> for Processed<K, W, F>
where
    K: 'static,
    V: 'static,
    W: Window,
    F: ProcessWindowFunction<K, V, W>,
{
    type Output = F::Output;

    fn call(&mut self, fired: Fired<'_, V>, firing: Firing<'_, W>, outputs: &mut Outputs<F::Output>) -> Result<()> {
        self.look_at(&firing);
        let mut context = WindowContext { firing, outputs, key: PhantomData };
        match fired {
            Fired::One(value) => self.function.process(std::slice::from_ref(&value), &mut context),
            Fired::All(values) => self.function.process(values, &mut context),
        }
    }

    fn clear(&mut self, firing: Firing<'_, W>, outputs: &mut Outputs<F::Output>) -> Result<()> {
        self.look_at(&firing);
        self.function.clear(&mut WindowContext { firing, outputs, key: PhantomData })?;
        self.states.clear.iter().for_each(|clear| clear());
        Ok(())
    }

    fn snapshot(&self, into: &mut Snapshot) -> Result<()> {
        self.states.keyed.snapshot(into)
    }

    fn restore(&mut self, section: &StateSection) -> Result<bool> {
        self.states.keyed.restore(section)
    }

    fn restored(&mut self) -> Result<()> {
        self.states.keyed.restored()
    }

    fn check(&self) -> Result<()> {
        self.states.keyed.check()
    }
}

/// A closure as a function.
pub(super) struct Closure<F, U> {
    pub(super) f: F,
    pub(super) output: PhantomData<fn() -> U>,
}

impl<K, V, W, U: Data, F> ProcessWindowFunction<K, V, W> for Closure<F, U>
where
    K: 'static,
    V: 'static,
    W: 'static,
    F: FnMut(&[V], &mut WindowContext<'_, K, W, U>) -> Result<()> + 'static,
{
    type Output = U;

    fn process(&mut self, records: &[V], context: &mut WindowContext<'_, K, W, U>) -> Result<()> {
        (self.f)(records, context)
    }
}
