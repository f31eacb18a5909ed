use super::aligned;
use super::assigner::{Aligned, WindowAssigner};
use super::contents::{AnyEvictor, Fold, Gathered, Listed, Reduce, Summed, Summing, WindowContents};
use super::evictor::Evictor;
use super::function::{Closure, ProcessWindowFunction, Processed, Results, WindowContext, WindowFunction, WindowStates};
use super::general::{Settings, WindowOperator};
use super::millis;
use super::session::SessionOperator;
use super::time_window::{TimeWindow, Windowed};
use super::trigger::Trigger;
use crate::graph::{Body, OperatorFactory, TaskContext};
use crate::process::{OutputTag, Outputs, TimeDomain, of_keys};
use crate::state::KeyRef;
use crate::stream::{Data, DataStream, KeyFn, KeySelector, KeyedStream, short_type_name};
use crate::{Aggregator, Operator, Result};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A keyed stream cut into windows: says when they give results, until when they take records, and what the results are.
///
/// ```
/// use fluvial_core::{Env, OutputTag, Tumbling, WatermarkStrategy};
/// use std::time::Duration;
///
/// let env = Env::default();
/// let readings = [("a", 3, 1i64), ("b", 4, 2), ("a", 5, 9), ("a", 1, 12)].map(|(k, n, t)| (k.to_string(), n, t));
/// let late = OutputTag::new("late");
/// let sums = env
///     .from_collection(readings)
///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|r: &(String, i32, i64)| r.2))
///     .key_by_ref(|r| r.0.as_str())
///     .window(Tumbling::of(Duration::from_millis(10)))
///     .allowed_lateness(Duration::from_millis(5))
///     .late_output(&late)
///     .fold(0i32, |sum, r| *sum += r.1);
/// let too_late = sums.side_output(&late);
/// let mut rows: Vec<_> = sums.collect()?.into_iter().map(|w| (w.window.start, w.key, w.value)).collect();
/// rows.sort();
/// assert_eq!(rows, [(0, "a".to_string(), 8), (0, "b".to_string(), 4), (10, "a".to_string(), 1)]);
/// assert_eq!(too_late.count()?, 0);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub struct WindowedStream<T, S, A: WindowAssigner<T>, G> {
    keyed: KeyedStream<T, S>,
    assigner: A,
    trigger: G,
    /// The trigger is the assigner's own.
    default_trigger: bool,
    evictor: AnyEvictor<T, A::Window>,
    lateness: i64,
    late: Option<OutputTag<T>>,
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// Cuts the records of each key into windows.
    pub fn window<A: WindowAssigner<T>>(&self, assigner: A) -> WindowedStream<T, S, A, A::Trigger> {
        WindowedStream {
            keyed: self.clone(),
            trigger: assigner.default_trigger(),
            assigner,
            default_trigger: true,
            evictor: None,
            lateness: 0,
            late: None,
        }
    }
}

/// The selector of the one key that all records have.
pub(super) type NoKey<T> = KeyFn<fn(&T), ()>;

impl<T: Data> DataStream<T> {
    /// The records as those of one key of no bytes: they come together on one worker.
    pub(super) fn without_key(&self) -> KeyedStream<T, NoKey<T>> {
        KeyedStream { stream: self.clone(), selector: KeyFn::new(|_| ()) }
    }

    /// Cuts the whole stream into windows, on one worker. The key of what they give is `()`.
    ///
    /// ```
    /// use fluvial_core::{Tumbling, WatermarkStrategy};
    /// use std::time::Duration;
    /// # let env = fluvial_core::Env::default();
    /// let numbers = env.sequence(0..100).assign_timestamps_and_watermarks(
    ///     WatermarkStrategy::monotonous().with_timestamps(|n: &u64| *n as i64),
    /// );
    /// let sums = numbers.window_all(Tumbling::of(Duration::from_millis(50))).reduce(|a, b| a + b);
    /// assert_eq!(sums.map(|w| w.value).collect()?, [1225, 3725]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn window_all<A: WindowAssigner<T>>(&self, assigner: A) -> WindowedStream<T, NoKey<T>, A, A::Trigger> {
        self.without_key().window(assigner)
    }
}

/// What a window gives for a key.
type WindowResult<T, S, A, R> = Windowed<<S as KeySelector<T>>::Key, <A as WindowAssigner<T>>::Window, R>;

impl<T, S, A, G> WindowedStream<T, S, A, G>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
{
    /// When windows give results, in place of the assigner's default.
    #[must_use]
    pub fn trigger<H: Trigger<T, A::Window>>(self, trigger: H) -> WindowedStream<T, S, A, H> {
        let Self { keyed, assigner, evictor, lateness, late, .. } = self;
        WindowedStream { keyed, assigner, trigger, default_trigger: false, evictor, lateness, late }
    }

    /// Which records are left out when a window fires. The window then keeps all its records until it ends.
    #[must_use]
    pub fn evictor(self, evictor: impl Evictor<T, A::Window>) -> Self {
        Self { evictor: Some(Arc::new(evictor)), ..self }
    }

    /// For how long after its end (in event time) a window still takes records; each fires it again, by default. None without
    /// it. Counts for windows of event time only.
    #[must_use]
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self { lateness: millis(lateness), ..self }
    }

    /// Where records go that are too late for all their windows; they keep their event times. Otherwise they are dropped, and
    /// counted.
    #[must_use]
    pub fn late_output(self, tag: &OutputTag<T>) -> Self {
        Self { late: Some(tag.clone()), ..self }
    }

    /// The records of each window reduced to one by a function that takes two and gives one.
    pub fn reduce(self, f: impl Fn(T, T) -> T + Clone + Send + Sync + 'static) -> DataStream<Windowed<S::Key, A::Window, T>> {
        self.summed(Summing { aggregator: Reduce(f), unpack: |record| record }, true)
    }

    /// The records of each window folded into a value, in the order in which they come. Windows that merge keep their records
    /// until they fire: two values that were folded apart cannot be made one. Aggregate instead if that is too much.
    pub fn fold<V: Data>(
        self,
        initial: V,
        f: impl Fn(&mut V, T) + Clone + Send + Sync + 'static,
    ) -> DataStream<Windowed<S::Key, A::Window, V>> {
        self.summed(Summing { aggregator: Fold { initial, f }, unpack: Some }, false)
    }

    /// The records of each window added to an accumulator as they come.
    pub fn aggregate<B: Aggregator<T>>(self, aggregator: B) -> DataStream<Windowed<S::Key, A::Window, B::Output>> {
        self.summed(Summing { aggregator, unpack: Some }, true)
    }

    /// Gives all records of each window to a function. `make` is called once a worker, with the state from which the function
    /// takes its handles.
    pub fn process<F: ProcessWindowFunction<S::Key, T, A::Window>>(
        self,
        make: impl Fn(&mut WindowStates<A::Window>) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        let contents = Listed { evictor: self.evictor.clone() };
        let make = processed::<S::Key, _, _, _>(make, self.assigner.merges());
        self.general(contents, make)
    }

    /// As [`WindowedStream::process`] with a closure in place of a type.
    pub fn process_with<U: Data, F>(
        self,
        make: impl Fn(&mut WindowStates<A::Window>) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<U>
    where
        F: FnMut(&[T], &mut WindowContext<'_, S::Key, A::Window, U>) -> Result<()> + 'static,
    {
        self.process(move |states| Ok(Closure { f: make(states)?, output: PhantomData::<fn() -> U> }))
    }

    /// Adds the records of each window to an accumulator as they come, and gives its result to a function.
    pub fn aggregate_then<B: Aggregator<T>, F: ProcessWindowFunction<S::Key, B::Output, A::Window>>(
        self,
        aggregator: B,
        make: impl Fn(&mut WindowStates<A::Window>) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        self.summed_then(Summing { aggregator, unpack: Some }, make)
    }

    /// Reduces the records of each window as they come, and gives the result to a function.
    pub fn reduce_then<F: ProcessWindowFunction<S::Key, T, A::Window>>(
        self,
        f: impl Fn(T, T) -> T + Clone + Send + Sync + 'static,
        make: impl Fn(&mut WindowStates<A::Window>) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        self.summed_then(Summing { aggregator: Reduce(f), unpack: |record| record }, make)
    }

    fn summed_then<B: Aggregator<T>, R: Data, F: ProcessWindowFunction<S::Key, R, A::Window>>(
        self,
        summing: Summing<B, B::Output, R>,
        make: impl Fn(&mut WindowStates<A::Window>) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        let make = processed::<S::Key, _, _, _>(make, self.assigner.merges());
        match self.evictor.clone() {
            None => self.general(Summed(summing), make),
            evictor => self.general(Gathered { list: Listed { evictor }, summing }, make),
        }
    }

    /// One result a window, by the operator that fits; `merges`: the aggregator does.
    fn summed<B: Aggregator<T>, R: Data>(
        self,
        summing: Summing<B, B::Output, R>,
        merges: bool,
    ) -> DataStream<WindowResult<T, S, A, R>> {
        let results = |_: &TaskContext| Ok(Results(PhantomData));
        if self.evictor.is_some() || (self.assigner.merges() && !merges) {
            let list = Listed { evictor: self.evictor.clone() };
            return self.general(Gathered { list, summing }, results);
        }
        if let Some(windows) = self.aligned(merges) {
            let (selector, late) = (self.keyed.selector.clone(), self.late.clone());
            return self.operator(by_slices::<T, S, A, B, R>(windows, self.lateness, selector, summing, late, merges));
        }
        if self.default_trigger && self.lateness == 0 && self.assigner.is_session() && self.in_event_time() {
            let (selector, late) = (self.keyed.selector.clone(), self.late.clone());
            return self.operator(by_sessions(selector, self.assigner.clone(), summing, late));
        }
        self.general(Summed(summing), results)
    }

    fn in_event_time(&self) -> bool {
        self.assigner.domain() == TimeDomain::EventTime
    }

    /// The windows' bounds, if the operator for such windows can have them: a slice that several windows share must merge.
    fn aligned(&self, merges: bool) -> Option<Aligned<A::Window>> {
        let windows = self.assigner.aligned().filter(|_| self.default_trigger && self.in_event_time())?;
        (merges || windows.slide >= windows.size).then_some(windows)
    }

    fn general<C, F>(self, contents: C, make: impl Fn(&TaskContext) -> Result<F> + Send + Sync + 'static) -> DataStream<F::Output>
    where
        C: WindowContents<T, A::Window>,
        F: WindowFunction<C::Value, A::Window>,
    {
        let settings = Settings {
            selector: self.keyed.selector.clone(),
            assigner: self.assigner.clone(),
            trigger: self.trigger.clone(),
            lateness: self.lateness,
            late: self.late.clone(),
        };
        self.operator(Arc::new(move |context| {
            let function = make(context)?;
            let operator = WindowOperator::new(settings.clone(), contents.clone(), function, context);
            Ok(Box::new(operator) as Box<dyn Operator>)
        }))
    }

    fn operator<U: Data>(&self, make: OperatorFactory) -> DataStream<U> {
        let mut node = self.keyed.stream.after("window", short_type_name::<A>(), Body::Operator(of_keys::<S::Key>(make)));
        node.inputs[0].distribution = self.keyed.by_key_group();
        node.estimate = None;
        DataStream::new(&self.keyed.stream.env, self.keyed.stream.env.add(node))
    }
}

// These do not depend on the trigger, so that programs have them once.

/// Makes the operator of aligned windows.
fn by_slices<T: Data, S: KeySelector<T>, A: WindowAssigner<T>, B: Aggregator<T>, R: Data>(
    Aligned { size, slide, offset, window }: Aligned<A::Window>,
    lateness: i64,
    selector: S,
    summing: Summing<B, B::Output, R>,
    late: Option<OutputTag<T>>,
    merges: bool,
) -> OperatorFactory {
    let windows = aligned::Windows { size, slide, offset, lateness };
    Arc::new(move |context| {
        let Summing { aggregator, unpack } = summing.clone();
        let emit = move |key: KeyRef<'_>, of: TimeWindow, result, outputs: &mut Outputs<WindowResult<T, S, A, R>>| {
            if let Some(value) = unpack(result) {
                outputs.push(Windowed { key: key.decode(), window: window(of), value }, of.max_timestamp());
            }
        };
        Ok(aligned::operator(windows, (selector.clone(), aggregator), emit, late.clone(), merges, context))
    })
}

/// Makes the operator of sessions.
fn by_sessions<T: Data, S: KeySelector<T>, A: WindowAssigner<T>, B: Aggregator<T>, R: Data>(
    selector: S,
    assigner: A,
    summing: Summing<B, B::Output, R>,
    late: Option<OutputTag<T>>,
) -> OperatorFactory {
    Arc::new(move |context| {
        let (selector, assigner) = (selector.clone(), assigner.clone());
        Ok(Box::new(SessionOperator::new(selector, assigner, summing.clone(), late.clone(), context)))
    })
}

/// Makes a user's function with its state.
fn processed<K: 'static, V: Data, W: super::Window, F: ProcessWindowFunction<K, V, W>>(
    make: impl Fn(&mut WindowStates<W>) -> Result<F> + Send + Sync + 'static,
    merges: bool,
) -> impl Fn(&TaskContext) -> Result<Processed<K, W, F>> + Send + Sync + 'static {
    move |context| Processed::new(&make, merges, context)
}
