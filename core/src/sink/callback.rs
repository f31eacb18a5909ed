use crate::chain::{AnyCollector, Collector, Context};
use crate::{Data, DataStream, Error, Position, Progress};
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;

impl<T: Data> DataStream<T> {
    /// Adds a sink that calls a function with each record, on the workers. Every worker has its own clone of the function.
    /// In a job with checkpoints it is called at least once a record: again for those after the checkpoint that a job goes on
    /// from. For exactly once see [`DataStream::write_transactional`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// # let env = fluvial_core::Env::default();
    /// let sum = Arc::new(AtomicU64::new(0));
    /// let total = sum.clone();
    /// env.sequence(1..=100).for_each(move |n| {
    ///     total.fetch_add(n, Relaxed);
    /// });
    /// env.execute("sum")?;
    /// assert_eq!(sum.load(Relaxed), 5050);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn for_each(&self, mut f: impl FnMut(T) + Clone + Send + Sync + 'static) {
        self.try_for_each(move |record| {
            f(record);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Like [`DataStream::for_each`], with a function that can fail; the first error fails the job and names this operator,
    /// and no further record is offered to that worker's function.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// env.sequence(1..=10).try_for_each(|n| if n < 10 { Ok(()) } else { Err(format!("{n} is too large")) });
    /// let error = env.execute("check").unwrap_err();
    /// assert!(error.to_string().contains("10 is too large"));
    /// ```
    pub fn try_for_each<E: Display>(&self, f: impl FnMut(T) -> Result<(), E> + Clone + Send + Sync + 'static) {
        let body = self.sink(Arc::new(move |_| Ok(AnyCollector::new::<T>(Callback { f: f.clone(), takes: PhantomData }))));
        let mut node = self.after("for_each", String::new(), body);
        node.outputs = 0;
        self.env.add_sink(node);
    }
}

/// Ends a chain in the user's function.
struct Callback<F, T> {
    f: F,
    takes: PhantomData<fn(T)>,
}

impl<T, E: Display, F: FnMut(T) -> Result<(), E>> Collector<T> for Callback<F, T> {
    #[inline]
    fn push(&mut self, record: T, context: &mut Context<'_>) {
        if context.failed() {
            return;
        }
        if let Err(error) = (self.f)(record) {
            context.fail(Error::User(error.to_string()));
        }
    }

    fn end_batch(&mut self, _position: Option<Position>, _context: &mut Context<'_>) {}

    fn finish(&mut self, _context: &mut Context<'_>) -> Progress {
        Progress::Done
    }
}
