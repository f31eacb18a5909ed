use crate::runtime::guard;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What a user's function does for one record.
pub(super) type Answer<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

/// How long to wait before a request is made again: twice as long each time, up to a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    maximum: Duration,
}

impl Backoff {
    /// `first` before the first retry, twice that before the second, and so on, but at most `maximum`.
    ///
    /// ```
    /// use fluvial_core::Backoff;
    /// use std::time::Duration;
    /// let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1));
    /// let delays: Vec<u128> = (0..6).map(|retry| backoff.delay(retry).as_millis()).collect();
    /// assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
    /// ```
    pub fn exponential(first: Duration, maximum: Duration) -> Self {
        Self { first, maximum }
    }

    /// The same before every retry.
    pub fn fixed(delay: Duration) -> Self {
        Self { first: delay, maximum: delay }
    }

    /// How long to wait before retry number `retry`, counted from 0.
    pub fn delay(&self, retry: u32) -> Duration {
        self.first.saturating_mul(2u32.saturating_pow(retry)).min(self.maximum)
    }
}

/// How the requests of one operation are made.
pub(super) struct Request<T, R, E> {
    pub(super) function: Arc<dyn Fn(T) -> Answer<R, E> + Send + Sync>,
    pub(super) timeout: Option<(Duration, OnTimeout<T, R>)>,
    pub(super) retries: u32,
    pub(super) backoff: Backoff,
    /// Whether a result is not good enough. Default: errors are not.
    pub(super) retry_if: RetryIf<R, E>,
}

/// Whether a result is not good enough.
pub(super) type RetryIf<R, E> = Arc<dyn Fn(&Result<R, E>) -> bool + Send + Sync>;

/// What becomes of a record whose request takes too long.
pub(super) enum OnTimeout<T, R> {
    /// The job fails.
    Fail,
    /// It gives this instead.
    Substitute(Arc<dyn Fn(T) -> R + Send + Sync>),
}

impl<T, R> Clone for OnTimeout<T, R> {
    fn clone(&self) -> Self {
        match self {
            Self::Fail => Self::Fail,
            Self::Substitute(f) => Self::Substitute(f.clone()),
        }
    }
}

impl<T, R, E> Clone for Request<T, R, E> {
    fn clone(&self) -> Self {
        Self {
            function: self.function.clone(),
            timeout: self.timeout.clone(),
            retries: self.retries,
            backoff: self.backoff,
            retry_if: self.retry_if.clone(),
        }
    }
}

impl<T: Clone, R, E: Display> Request<T, R, E> {
    /// Requests what belongs to a record. An error, the user's function's panic among them, comes back as its message.
    pub(super) async fn answer(&self, record: &T) -> Result<R, String> {
        let mut answer = Box::pin(self.within_time(record));
        poll_fn(|context| match guard(|| answer.as_mut().poll(context)) {
            Ok(poll) => poll,
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        })
        .await
    }

    async fn within_time(&self, record: &T) -> Result<R, String> {
        let Some((limit, otherwise)) = &self.timeout else { return self.attempts(record).await };
        match (tokio::time::timeout(*limit, self.attempts(record)).await, otherwise) {
            (Ok(result), _) => result,
            (Err(_), OnTimeout::Substitute(f)) => Ok(f(record.clone())),
            (Err(_), OnTimeout::Fail) => Err(format!("a request was not answered within {limit:?}")),
        }
    }

    async fn attempts(&self, record: &T) -> Result<R, String> {
        for retry in 0..self.retries {
            {
                let result = (self.function)(record.clone()).await;
                if !(self.retry_if)(&result) {
                    return result.map_err(|e| e.to_string());
                }
            }
            tokio::time::sleep(self.backoff.delay(retry)).await;
        }
        let result = (self.function)(record.clone()).await;
        let attempts = u64::from(self.retries) + 1;
        result.map_err(|e| if attempts == 1 { e.to_string() } else { format!("{e} ({attempts} attempts)") })
    }
}

/// Hands a single result on.
pub(super) fn single<U>(result: U, each: &mut dyn FnMut(U)) {
    each(result);
}

/// Hands the results of one request on.
pub(super) fn several<U, I: IntoIterator<Item = U>>(results: I, each: &mut dyn FnMut(U)) {
    results.into_iter().for_each(each);
}
