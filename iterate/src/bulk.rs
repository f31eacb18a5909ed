use crate::Iteration;
use fluvial_core::{Data, DataStream, LoopBuilder, Result, Table};

/// Bulk iterations over typed streams.
pub trait Iterate<T> {
    /// Iterates: `step` makes of each partial solution the next one, at most `max` times; the last one is the result.
    ///
    /// The function is called once, to build the step of the job graph. It may use other streams too: they are read once, and
    /// what they bring is kept in managed memory, or on disk, for all supersteps; a join's table that is built of one is built once.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::Iterate;
    /// let env = Env::default();
    /// // The square root of two, by Heron.
    /// let root = env.from_collection([1.0f64]).iterate(20, |partial, it| {
    ///     let change = it.max::<f64>("change");
    ///     it.converge(&change, |last| last.is_some_and(|change| change < 1e-15));
    ///     partial.map(move |x| {
    ///         let next = (x + 2.0 / x) / 2.0;
    ///         change.add((next - x).abs());
    ///         next
    ///     })
    /// });
    /// assert!((root.collect()?[0] - 2f64.sqrt()).abs() < 1e-15);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    fn iterate(&self, max: u64, step: impl FnOnce(&DataStream<T>, &Iteration) -> DataStream<T>) -> DataStream<T>;
}

impl<T: Data> Iterate<T> for DataStream<T> {
    fn iterate(&self, max: u64, step: impl FnOnce(&DataStream<T>, &Iteration) -> DataStream<T>) -> DataStream<T> {
        let (builder, partial) = LoopBuilder::begin("iterate", self);
        let iteration = Iteration::new(builder);
        let result = step(&partial, &iteration);
        let (builder, stop) = iteration.close();
        builder.close(&result, max, stop)
    }
}

/// Bulk iterations over tables.
pub trait IterateTable {
    /// As [`Iterate::iterate`], where the partial solution is a table.
    ///
    /// # Errors
    /// What the step says; a result whose columns are not those of the table.
    fn iterate(&self, max: u64, step: impl FnOnce(&Table, &Iteration) -> Result<Table>) -> Result<Table>;
}

impl IterateTable for Table {
    fn iterate(&self, max: u64, step: impl FnOnce(&Table, &Iteration) -> Result<Table>) -> Result<Table> {
        let (builder, partial) = LoopBuilder::begin_table("iterate", self);
        let iteration = Iteration::new(builder);
        let result = step(&partial, &iteration)?;
        let (builder, stop) = iteration.close();
        builder.close_table(&result, max, stop)
    }
}
