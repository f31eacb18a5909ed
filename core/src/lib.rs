//! Fluvial's engine: streams and tables, the job graph, and the runtime that runs it.

mod asynchronous;
mod batch;
mod blocking;
mod chain;
mod checkpoint;
mod codec;
mod config;
mod control;
mod env;
mod error;
mod exchange;
mod graph;
mod interval;
pub mod io;
mod iteration;
mod launch;
mod metrics;
mod operation;
mod operator;
mod process;
mod queue;
mod report;
mod restart;
pub mod runtime;
mod sink;
mod source;
mod state;
mod stream;
mod table;
mod testing;
mod time;
mod tokio_runtime;
mod window;

pub use asynchronous::{AsyncMap, Backoff};
pub use batch::{Batch, Change, Position, Records, TypedRecords};
pub use checkpoint::{
    CheckpointInfo, CheckpointReport, CheckpointStats, Checkpoints, OperatorInfo, RestoreFrom, StateInfo, StateValue, StoredState,
};
pub use config::{Config, MINIMUM_MEMORY_PER_WORKER, Mode, format_bytes, parse_bytes};
pub use control::request_savepoint;
pub use env::{AfterSavepoint, Env};
pub use error::{Error, Result, exit_code};
pub use fluvial_memory::{Progress, Waker};
pub use graph::{GraphDescription, InputDescription, NodeDescription, OperatorStats, SuperstepReport, TaskContext};
pub use interval::{IntervalContext, IntervalJoin, TimeBound};
pub use iteration::{
    Aggregate, BatchStore, Decision, FeedbackBuilder, IterationHead, LoopBuilder, LoopState, STORE_SEGMENTS, StoreCursor, Stored,
    Superstep, Weigher,
};
pub use launch::{Children, Relaunch, launch};
pub use metrics::{Metrics, MetricsSnapshot, OperatorMetrics, OperatorRates, WorkerMetrics, parse_metrics_addr};
pub use operation::Operation;
pub use operator::{
    DeferredState, Operator, OperatorContext, Output, Restored, SectionSink, Shared, Snapshot, Source, StateSection,
};
pub use process::{
    BroadcastContext, BroadcastProcessFunction, CoProcessFunction, Connected, ConnectedBroadcast, ConnectedKeyed,
    ConnectedKeyedBroadcast, DeadLetter, DeadLetters, KeyedBroadcastContext, KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, OutputTag, ProcessContext, ProcessFunction, SplitStream,
    TimeDomain, Timer,
};
pub use report::{JobProgress, JobReport, Monitor, peak_resident};
pub use restart::{Restart, RestartReport};
pub use runtime::Interrupt;
pub use sink::{CollectStream, FileSink, SinkContext, SinkNode, SocketOptions, TransactionalSink};
pub use source::{ChannelClosed, ChannelSender, FileOrder, FollowFolder, Generator, SocketListener, SocketSource, TailFile};
pub use state::{
    AggregatingState, BroadcastState, BroadcastWriter, KeyedState, ListState, MapState, OperatorList, OperatorState,
    ReducingState, StateBackend, StoredSection, Ttl, ValueState,
};
pub use stream::{
    Aggregator, Data, DataStream, Emitter, Group, KeyFn, KeyRef, KeySelector, KeyedJoin, KeyedStream, Number, Partition,
    WithBroadcast,
};
pub use table::{
    AggregateSpec, Batches, Function, Grouped, Join, JoinStrategy, JoinType, Projection, SortKey, Spool, Table, TableParts,
    parse_aggregates, parse_columns, parse_join_on, parse_projection, parse_sort_keys,
};
pub use time::{Clock, WatermarkGenerator, WatermarkStrategy};
pub use window::{
    Aligned, CoGroupContext, ContinuousTrigger, CountEvictor, CountTrigger, DeltaEvictor, DeltaTrigger, ElementGap,
    EndOfStreamTrigger, Evictor, EvictorContext, FixedGap, Gap, Global, GlobalWindow, JoinSide, NeverTrigger,
    ProcessWindowFunction, PurgingTrigger, Session, Sliding, TimeEvictor, TimeTrigger, TimeWindow, Trigger, TriggerContext,
    TriggerResult, Tumbling, Window, WindowAssigner, WindowContext, WindowJoin, WindowRecords, WindowStates, WindowValueState,
    Windowed, WindowedStream,
};
