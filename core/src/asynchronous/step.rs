use super::operator::{AsyncOperator, Unpack};
use super::request::{Backoff, OnTimeout, Request, several, single};
use super::requests::Requests;
use crate::graph::OperatorFactory;
use crate::{Data, DataStream, Operator, tokio_runtime};
use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Requests under way at a worker, unless the user says otherwise.
const CAPACITY: usize = 100;

/// An asynchronous function over a stream, and how it is called; made by [`DataStream::async_map`] and its kin. `R` is what
/// one call gives, `U` the records that come of it. [`AsyncMap::stream`] gives the results.
#[must_use = "nothing is added to the job before `stream` is called"]
pub struct AsyncMap<T, R, E, U> {
    input: DataStream<T>,
    kind: &'static str,
    request: Request<T, R, E>,
    unpack: Unpack<R, U>,
    ordered: bool,
    capacity: usize,
}

impl<T: Data> DataStream<T> {
    /// Calls an ordinary `async fn` for each record: a look-up in a database, a call of a service. Many requests are under
    /// way at a time; no worker waits for them. An error fails the job and names this operator, after the
    /// [retries](AsyncMap::retries) that it is allowed.
    ///
    /// The function runs on a tokio runtime that all jobs of the process share, so what it awaits may be tokio's: sockets,
    /// timers, channels. Computations in it should be short. Results have the event times of the records they belong to; the
    /// watermark waits for the requests of the records before it.
    ///
    /// ```
    /// use fluvial_core::{Backoff, Env};
    /// use std::time::Duration;
    ///
    /// async fn population(city: String) -> Result<(String, u64), std::io::Error> {
    ///     let answer = if city == "Bern" { 134_794 } else { 0 }; // ask a service here
    ///     Ok((city, answer))
    /// }
    ///
    /// let env = Env::default();
    /// let cities = env.from_collection(["Bern", "Atlantis"].map(String::from));
    /// let populations = cities
    ///     .async_map(population)
    ///     .unordered()
    ///     .capacity(20)
    ///     .timeout(Duration::from_secs(10))
    ///     .retries(3, Backoff::exponential(Duration::from_millis(50), Duration::from_secs(1)))
    ///     .stream();
    /// let mut populations = populations.collect()?;
    /// populations.sort();
    /// assert_eq!(populations, [("Atlantis".to_string(), 0), ("Bern".to_string(), 134_794)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn async_map<U, E, Fut>(&self, f: impl Fn(T) -> Fut + Send + Sync + 'static) -> AsyncMap<T, U, E, U>
    where
        U: Data,
        E: Display + Send + 'static,
        Fut: Future<Output = Result<U, E>> + Send + 'static,
    {
        AsyncMap::new(self, "async_map", f, single)
    }

    /// Like [`DataStream::async_map`], with a function that cannot fail.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let doubled = env.sequence(0..3).async_map_infallible(|n| async move { n * 2 }).stream();
    /// assert_eq!(doubled.sum(|n| *n).collect()?, [6]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn async_map_infallible<U, Fut>(&self, f: impl Fn(T) -> Fut + Send + Sync + 'static) -> AsyncMap<T, U, Infallible, U>
    where
        U: Data,
        Fut: Future<Output = U> + Send + 'static,
    {
        let f = move |record| {
            let answer = f(record);
            async move { Ok(answer.await) }
        };
        AsyncMap::new(self, "async_map", f, single)
    }

    /// Like [`DataStream::async_map`], with a function that gives any number of records for each.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// async fn links(page: u64) -> Result<Vec<u64>, std::io::Error> {
    ///     Ok((0..page).collect())
    /// }
    /// assert_eq!(env.sequence(0..4).async_flat_map(links).stream().count()?, 6);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn async_flat_map<U, I, E, Fut>(&self, f: impl Fn(T) -> Fut + Send + Sync + 'static) -> AsyncMap<T, I, E, U>
    where
        U: Data,
        I: IntoIterator<Item = U> + Send + 'static,
        E: Display + Send + 'static,
        Fut: Future<Output = Result<I, E>> + Send + 'static,
    {
        AsyncMap::new(self, "async_flat_map", f, several)
    }
}

impl<T, R, E, U> AsyncMap<T, R, E, U>
where
    T: Data,
    R: Send + 'static,
    E: Display + Send + 'static,
    U: Data,
{
    fn new<Fut: Future<Output = Result<R, E>> + Send + 'static>(
        input: &DataStream<T>,
        kind: &'static str,
        f: impl Fn(T) -> Fut + Send + Sync + 'static,
        unpack: Unpack<R, U>,
    ) -> Self {
        let request = Request {
            function: Arc::new(move |record| Box::pin(f(record))),
            timeout: None,
            retries: 0,
            backoff: Backoff::fixed(Duration::ZERO),
            retry_if: Arc::new(Result::is_err),
        };
        Self { input: input.clone(), kind, request, unpack, ordered: true, capacity: CAPACITY }
    }

    /// Each worker's results come in the order of its records, as without this. Results that wait for an earlier one count
    /// towards the capacity.
    pub fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// Results come as they are there: a slow request does not hold back the others. It still holds back the watermark, so no
    /// result is later than its record was.
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// At most so many requests are under way at each worker; then it takes no more records. Default: 100; at least 1.
    pub fn capacity(mut self, requests: usize) -> Self {
        self.capacity = requests.max(1);
        self
    }

    /// A record that takes longer than this, all retries and the time between them included, fails the job.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.request.timeout = Some((limit, OnTimeout::Fail));
        self
    }

    /// A record that takes longer than this, all retries and the time between them included, gives what `substitute` makes
    /// of it.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// use std::time::Duration;
    /// let slow = env.sequence(0..2).async_map_infallible(|n| async move {
    ///     if n == 1 {
    ///         std::future::pending::<()>().await;
    ///     }
    ///     Some(n)
    /// });
    /// let mut answers = slow.timeout_or(Duration::from_millis(5), |_| None).stream().collect()?;
    /// answers.sort();
    /// assert_eq!(answers, [None, Some(0)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn timeout_or(mut self, limit: Duration, substitute: impl Fn(T) -> R + Send + Sync + 'static) -> Self {
        self.request.timeout = Some((limit, OnTimeout::Substitute(Arc::new(substitute))));
        self
    }

    /// A request that gives an error is made again, at most so many times, after waiting as `backoff` says.
    pub fn retries(mut self, retries: u32, backoff: Backoff) -> Self {
        self.request.retries = retries;
        self.request.backoff = backoff;
        self
    }

    /// Instead of all errors, the results for which this is true are worth a [retry](AsyncMap::retries). The last attempt's
    /// result counts, whatever it is.
    pub fn retry_if(mut self, retry: impl Fn(&Result<R, E>) -> bool + Send + Sync + 'static) -> Self {
        self.request.retry_if = Arc::new(retry);
        self
    }

    /// The results.
    pub fn stream(self) -> DataStream<U> {
        let Self { input, kind, request, unpack, ordered, capacity } = self;
        let detail = format!("{}, {capacity} requests at a time", if ordered { "ordered" } else { "unordered" });
        let make: OperatorFactory = Arc::new(move |context| {
            let requests = Requests::new(ordered, capacity);
            let operator = AsyncOperator::new(context, tokio_runtime::handle()?, request.clone(), requests, unpack);
            Ok(Box::new(operator) as Box<dyn Operator>)
        });
        input.operator(kind, detail, make)
    }
}
