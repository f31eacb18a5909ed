use super::{Data, DataStream};
use crate::chain::{AnyCollector, BoxCollector, Collector, Context, Link, LinkFn, TryLink};
use crate::graph::Body;
use crate::{Batch, Error, Operator, Output, Progress, Result};
use std::sync::Arc;

/// Where a user's function puts its results.
pub struct Emitter<'a, 'b, U> {
    next: &'a mut BoxCollector<U>,
    context: &'a mut Context<'b>,
}

impl<'a, 'b, U> Emitter<'a, 'b, U> {
    pub(crate) fn new(next: &'a mut BoxCollector<U>, context: &'a mut Context<'b>) -> Self {
        Self { next, context }
    }

    /// Emits a record.
    #[inline]
    pub fn push(&mut self, record: U) {
        self.next.push(record, self.context);
    }
}

impl<T: Data> DataStream<T> {
    /// One record out for each record in.
    pub fn map<U: Data>(&self, f: impl FnMut(T) -> U + Clone + Send + Sync + 'static) -> DataStream<U> {
        self.step("map", move || {
            let mut f = f.clone();
            move |record, next: &mut BoxCollector<U>, context: &mut Context<'_>| next.push(f(record), context)
        })
    }

    /// Like [`DataStream::map`], with a function that can fail; the first error fails the job and names this operator.
    /// Where it should not, see [`DataStream::try_map_or`].
    pub fn try_map<U, E>(&self, f: impl FnMut(T) -> std::result::Result<U, E> + Clone + Send + Sync + 'static) -> DataStream<U>
    where
        U: Data,
        E: std::fmt::Display,
    {
        self.step("try_map", move || {
            let mut f = f.clone();
            TryLink(move |record, next: &mut BoxCollector<U>, context: &mut Context<'_>| {
                next.push(f(record).map_err(|e| Error::User(e.to_string()))?, context);
                Ok(())
            })
        })
    }

    /// The records for which `keep` is true.
    pub fn filter(&self, keep: impl FnMut(&T) -> bool + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.step("filter", move || {
            let mut keep = keep.clone();
            move |record, next: &mut BoxCollector<T>, context: &mut Context<'_>| {
                if keep(&record) {
                    next.push(record, context);
                }
            }
        })
    }

    /// Any number of records out for each record in, as an iterator.
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl FnMut(T) -> I + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.step("flat_map", move || {
            let mut f = f.clone();
            move |record, next: &mut BoxCollector<U>, context: &mut Context<'_>| {
                for result in f(record) {
                    next.push(result, context);
                }
            }
        })
    }

    /// Like [`DataStream::filter`], with a function that can fail; the first error fails the job and names this operator.
    pub fn try_filter<E: std::fmt::Display>(
        &self,
        keep: impl FnMut(&T) -> std::result::Result<bool, E> + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.step("try_filter", move || {
            let mut keep = keep.clone();
            TryLink(move |record, next: &mut BoxCollector<T>, context: &mut Context<'_>| {
                if keep(&record).map_err(|e| Error::User(e.to_string()))? {
                    next.push(record, context);
                }
                Ok(())
            })
        })
    }

    /// Like [`DataStream::flat_map`], with a function that can fail; the first error fails the job and names this operator.
    pub fn try_flat_map<U, I, E>(
        &self,
        f: impl FnMut(T) -> std::result::Result<I, E> + Clone + Send + Sync + 'static,
    ) -> DataStream<U>
    where
        U: Data,
        I: IntoIterator<Item = U>,
        E: std::fmt::Display,
    {
        self.step("try_flat_map", move || {
            let mut f = f.clone();
            TryLink(move |record, next: &mut BoxCollector<U>, context: &mut Context<'_>| {
                for result in f(record).map_err(|e| Error::User(e.to_string()))? {
                    next.push(result, context);
                }
                Ok(())
            })
        })
    }

    /// Any number of records out for each record in, pushed one by one. Results may be made while the record is still
    /// borrowed, which an iterator could not do:
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let lines = env.from_collection(["to be or".to_string(), "not to be".to_string()]);
    /// let words = lines.flat_map_with(|line, out| line.split_whitespace().for_each(|w| out.push(w.to_owned())));
    /// assert_eq!(words.collect()?.len(), 6);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn flat_map_with<U: Data>(
        &self,
        f: impl FnMut(T, &mut Emitter<'_, '_, U>) + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.step("flat_map", move || {
            let mut f = f.clone();
            move |record, next: &mut BoxCollector<U>, context: &mut Context<'_>| f(record, &mut Emitter { next, context })
        })
    }

    /// Looks at every record on its way.
    pub fn inspect(&self, look: impl FnMut(&T) + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.step("inspect", move || {
            let mut look = look.clone();
            move |record, next: &mut BoxCollector<T>, context: &mut Context<'_>| {
                look(&record);
                next.push(record, context);
            }
        })
    }

    /// The records of both streams, in no particular order.
    pub fn union(&self, other: &DataStream<T>) -> DataStream<T> {
        let bounded = self.known().0 && other.known().0;
        let mut node = self.after("union", String::new(), Body::Operator(Arc::new(|_| Ok(Box::new(Union)))));
        node.piecewise = crate::graph::Piecewise::Always;
        node.inputs.push(other.input());
        node.bounded = bounded;
        node.estimate = None;
        DataStream::new(&self.env, self.env.add(node))
    }

    fn step<U: Data, F: LinkFn<T, U>>(&self, kind: &'static str, make: impl Fn() -> F + Send + Sync + 'static) -> DataStream<U> {
        self.link(kind, Arc::new(move |_, next| Ok(AnyCollector::new::<T>(Link::new(make(), next.into::<U>()?)))))
    }
}

/// Passes batches of several inputs on; their positions no longer mean anything.
pub(crate) struct Union;

impl Operator for Union {
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        batch.position = None;
        out.send(0, batch)?;
        Ok(Progress::Done)
    }
}
