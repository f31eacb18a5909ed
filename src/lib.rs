//! Fluvial: one engine for data that ends and data that does not.

pub mod cli;
pub mod nexmark;
pub mod tpch;

pub use fluvial_core::*;
pub use fluvial_iterate as iterate;
pub use fluvial_iterate::graph;
pub use fluvial_memory as memory;
pub use fluvial_ml as ml;
pub use fluvial_operators as operators;

/// What most programs need.
pub mod prelude {
    pub use fluvial_core::{
        Aggregator, BroadcastState, Clock, CoProcessFunction, Config, CountTrigger, Data, DataStream, DeadLetter, DeadLetters,
        EndOfStreamTrigger, Env, Error, Global, JoinStrategy, JoinType, KeyedBroadcastContext, KeyedBroadcastProcessFunction,
        KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, KeyedState, KeyedStream, ListState, MapState, Mode,
        OutputTag, ProcessContext, ProcessFunction, ProcessWindowFunction, PurgingTrigger, Result, Session, Sliding, Table,
        TimeWindow, Timer, Ttl, Tumbling, ValueState, WatermarkStrategy, WindowContext, Windowed,
    };
    pub use fluvial_iterate::{DeltaOptions, Feedback, Iterate, IterateDelta, IterateTable, Iteration, Solution};
    pub use fluvial_memory::Descending;
}
