use std::sync::Arc;

/// What a call that does a bounded amount of work says about the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The fuel is spent and there is more to do: call again.
    More,
    /// Spill I/O is outstanding: the waker given at construction is called when it is worth calling again.
    Waiting,
    /// Nothing is left to do.
    Done,
}

/// Called, from any thread, when outstanding I/O has progressed.
pub type Waker = Arc<dyn Fn() + Send + Sync>;
