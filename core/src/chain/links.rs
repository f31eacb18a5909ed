use super::{BoxCollector, Collector, Context};
use crate::{Position, Progress, Result};
use std::marker::PhantomData;

/// What a step does with a record: pushes any number of records to the next.
pub(crate) trait LinkFn<T, U>: 'static {
    fn call(&mut self, record: T, next: &mut BoxCollector<U>, context: &mut Context<'_>);
}

impl<T, U, F> LinkFn<T, U> for F
where
    F: FnMut(T, &mut BoxCollector<U>, &mut Context<'_>) + 'static,
{
    #[inline]
    fn call(&mut self, record: T, next: &mut BoxCollector<U>, context: &mut Context<'_>) {
        self(record, next, context);
    }
}

/// A step with a successor.
pub(crate) struct Link<F, T, U> {
    step: F,
    next: BoxCollector<U>,
    takes: PhantomData<fn(T)>,
}

impl<F, T, U> Link<F, T, U> {
    pub(crate) fn new(step: F, next: BoxCollector<U>) -> Self {
        Self { step, next, takes: PhantomData }
    }
}

impl<T, U, F: LinkFn<T, U>> Collector<T> for Link<F, T, U> {
    #[inline]
    fn push(&mut self, record: T, context: &mut Context<'_>) {
        self.step.call(record, &mut self.next, context);
    }
    fn end_batch(&mut self, position: Option<Position>, context: &mut Context<'_>) {
        self.next.end_batch(position, context);
    }
    fn finish(&mut self, context: &mut Context<'_>) -> Progress {
        self.next.finish(context)
    }
    fn end_superstep(&mut self, context: &mut Context<'_>) -> Progress {
        self.next.end_superstep(context)
    }
}

/// A step that can fail: the first error fails the job, and no further record is offered to it.
pub(crate) struct TryLink<F>(pub F);

impl<T: 'static, U: 'static, F> LinkFn<T, U> for TryLink<F>
where
    F: FnMut(T, &mut BoxCollector<U>, &mut Context<'_>) -> Result<()> + 'static,
{
    #[inline]
    fn call(&mut self, record: T, next: &mut BoxCollector<U>, context: &mut Context<'_>) {
        if context.failed() {
            return;
        }
        if let Err(error) = (self.0)(record, next, context) {
            context.fail(error);
        }
    }
}
