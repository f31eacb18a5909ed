use fluvial_core::{Data, DataStream, FeedbackBuilder};

/// Loops over streams that need not end.
pub trait Feedback<T> {
    /// Sends records around a loop: `step` is given the records of this stream merged with those that have come back, and gives
    /// what goes back into the loop and the result.
    ///
    /// Watermarks and checkpoint barriers pass through the loop, and the operations in it may keep state; a record that comes
    /// back has the event time that it had, but is not held against the watermark. Records on their way around the loop are part of
    /// a checkpoint. When the stream ends, the loop goes on until it is empty: what goes back must come to an end.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::Feedback;
    /// let env = Env::default();
    /// // Halved until odd.
    /// let odd = env.sequence(1..=12).feedback(|numbers| {
    ///     let even = numbers.filter(|n| n % 2 == 0).map(|n| n / 2);
    ///     (even, numbers.filter(|n| n % 2 == 1))
    /// });
    /// let mut odd = odd.collect()?;
    /// odd.sort();
    /// assert_eq!(odd, [1, 1, 1, 1, 3, 3, 3, 5, 5, 7, 9, 11]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    fn feedback<R: Data>(&self, step: impl FnOnce(&DataStream<T>) -> (DataStream<T>, DataStream<R>)) -> DataStream<R>;
}

impl<T: Data> Feedback<T> for DataStream<T> {
    fn feedback<R: Data>(&self, step: impl FnOnce(&DataStream<T>) -> (DataStream<T>, DataStream<R>)) -> DataStream<R> {
        let (builder, merged) = FeedbackBuilder::begin("feedback", self);
        let (back, result) = step(&merged);
        builder.close(&back, &result)
    }
}
