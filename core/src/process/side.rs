use crate::stream::{Data, DataStream};
use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;

/// Names a second output of an operation, with records of a type of its own: late records, errors, what a function sets aside.
///
/// The function that emits and the program that reads use tags of the same name and type. Records for a tag that nobody reads
/// are dropped.
///
/// ```
/// use fluvial_core::{KeyedContext, OutputTag};
/// # let env = fluvial_core::Env::default();
/// let odd = OutputTag::<u64>::new("odd");
/// let tag = odd.clone();
/// let even = env.sequence(0..10).key_by(|n| *n).process_with(move |_state| {
///     let odd = tag.clone();
///     Ok(move |number, context: &mut KeyedContext<'_, u64, u64>| {
///         if number % 2 == 0 { context.emit(number) } else { context.side(&odd, number) }
///         Ok(())
///     })
/// });
/// assert_eq!(even.side_output(&odd).map(|n| n).count()?, 5);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub struct OutputTag<U> {
    name: Arc<str>,
    record: PhantomData<fn() -> U>,
}

impl<U> Clone for OutputTag<U> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), record: PhantomData }
    }
}

impl<U> OutputTag<U> {
    /// A tag of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), record: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T: Data> DataStream<T> {
    /// What the operation that gives this stream emits under a tag.
    pub fn side_output<U: Data>(&self, tag: &OutputTag<U>) -> DataStream<U> {
        let mut side = DataStream::new(&self.env, self.node);
        let sides = &mut self.env.graph().nodes[self.node].sides;
        let place = sides.iter().position(|(name, record)| name == tag.name() && *record == TypeId::of::<U>());
        side.port = 1 + place.unwrap_or_else(|| {
            sides.push((tag.name().to_owned(), TypeId::of::<U>()));
            sides.len() - 1
        });
        side
    }
}
