use super::IterationHead;
use super::aggregates::{Aggregate, Erased, ErasedAggregate};
use super::control::LoopSettings;
use super::head::{HEAD_SEGMENTS, Head};
use super::state::next_id;
use super::tail::Tail;
use crate::graph::{Body, Distribution, Input, Node, NodeId, TaskContext, Timing};
use crate::runtime::BatchCodec;
use crate::stream::{Data, typed_batch_codec};
use crate::{Aggregator, DataStream, Env, Operator, Result, Table};
use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// What a superstep was like on all workers together, for whoever decides whether it was the last.
pub struct Superstep<'a> {
    /// Its number, counted from 0.
    pub number: u64,
    /// Records of the step's result.
    pub results: u64,
    /// Records of each criterion.
    pub criteria: &'a [u64],
    pub(super) values: &'a [Box<dyn Any>],
}

impl Superstep<'_> {
    /// The value of the aggregator at this place, after this superstep.
    pub fn value<V: 'static>(&self, index: usize) -> Option<&V> {
        self.values.get(index)?.downcast_ref()
    }
}

#[derive(Default)]
struct Parts {
    aggregates: Vec<Box<dyn ErasedAggregate>>,
    names: Vec<String>,
    criteria: Vec<Input>,
    /// What the step asks for that there is only with supersteps.
    wishes: Vec<String>,
}

/// A loop that is being built: begun with what comes from outside, closed with the result of its step.
///
/// ```
/// use fluvial_core::{Env, LoopBuilder};
/// let env = Env::default();
/// let (turns, numbers) = LoopBuilder::begin("double", &env.sequence(1..=3));
/// let doubled = numbers.map(|n| n * 2);
/// let result = turns.close(&doubled, 10, |_| false);
/// assert_eq!(result.collect()?.into_iter().sum::<u64>(), 6 * 1024);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[must_use = "a loop that is not closed cannot run"]
pub struct LoopBuilder {
    env: Env,
    id: u64,
    head: NodeId,
    /// How records travel around the loop.
    codec: Option<Arc<dyn BatchCodec>>,
    parts: Mutex<Parts>,
    settings: Arc<OnceLock<Arc<LoopSettings>>>,
    asynchronous: bool,
}

impl LoopBuilder {
    /// A loop whose first superstep is given `initial`: gives what each superstep is given.
    pub fn begin<T: Data>(kind: &'static str, initial: &DataStream<T>) -> (Self, DataStream<T>) {
        let node = initial.after(kind, String::new(), Body::LoopExit);
        let (builder, head) = Self::of(initial.env(), node);
        (builder, DataStream::new(initial.env(), head))
    }

    /// As [`LoopBuilder::begin`], of a table.
    pub fn begin_table(kind: &'static str, initial: &Table) -> (Self, Table) {
        let node = initial.after(kind, String::new(), Body::LoopExit);
        let (builder, head) = Self::of(initial.env(), node);
        (builder, Table::new(initial.env(), head, initial.schema().clone()))
    }

    /// A loop without supersteps: records of the step go around as they come, and operations work on what has come to them so far. It ends
    /// when it is empty. There are no aggregators, no criteria and no numbers of supersteps; who asks for them is refused when the
    /// job is about to run. Closed with [`LoopBuilder::close_around`], whose `max` and `stop` then mean nothing.
    pub fn begin_asynchronous<T: Data>(kind: &'static str, initial: &DataStream<T>) -> (Self, DataStream<T>) {
        let mut node = initial.after(kind, "asynchronous".into(), Body::AsynchronousLoopHead(Vec::new()));
        node.memory = HEAD_SEGMENTS;
        node.timing = Timing::AtTheEnd;
        node.estimate = None;
        let env = initial.env();
        let codec = node.inputs[0].codec.clone();
        let head = env.add(node);
        let (parts, settings) = Default::default();
        (Self { env: env.clone(), id: next_id(), head, codec, parts, settings, asynchronous: true }, DataStream::new(env, head))
    }

    fn of(env: &Env, mut node: Node) -> (Self, NodeId) {
        let (id, settings) = (next_id(), Arc::new(OnceLock::<Arc<LoopSettings>>::new()));
        let codec = node.inputs[0].codec.clone();
        let (of_head, for_head) = (settings.clone(), codec.clone());
        node.body = Body::LoopHead(Arc::new(move |context: &TaskContext| {
            let settings = of_head.get().cloned().ok_or_else(|| not_closed(&context.name))?;
            let head: Box<dyn IterationHead> = Box::new(Head::open(settings, id, for_head.clone(), context)?);
            Ok(head)
        }));
        node.memory = HEAD_SEGMENTS;
        node.outputs = 2;
        node.timing = Timing::AtTheEnd;
        node.estimate = None;
        let head = env.add(node);
        (Self { env: env.clone(), id, head, codec, parts: Mutex::default(), settings, asynchronous: false }, head)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The loop's number, by which operations in it find its [`LoopState`](crate::LoopState) on their worker.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Notes that the step asks for something that there is only with supersteps.
    pub fn asks_for(&self, what: impl Into<String>) {
        self.parts().wishes.push(what.into());
    }

    /// An aggregator; `name` is shown where the loop's progress is.
    pub fn aggregate<X: 'static, A: Aggregator<X>>(&self, name: &str, aggregator: A) -> Aggregate<X, A> {
        let mut parts = self.parts();
        parts.wishes.push(format!("the aggregator `{name}`"));
        parts.aggregates.push(Box::new(Erased::<X, A>::new(aggregator.clone())));
        parts.names.push(name.to_owned());
        Aggregate::new(self.id, parts.names.len() - 1, aggregator)
    }

    /// Has the records of a stream of the step counted, superstep by superstep; gives its place in [`Superstep::criteria`].
    pub fn criterion<U: Data>(&self, stream: &DataStream<U>) -> usize {
        self.counted(stream.input())
    }

    /// As [`LoopBuilder::criterion`], of a table.
    pub fn criterion_table(&self, table: &Table) -> usize {
        self.counted(table.input_by(Distribution::Forward))
    }

    fn counted(&self, input: Input) -> usize {
        let mut parts = self.parts();
        parts.wishes.push("a stream that ends the loop when a superstep leaves it empty".into());
        parts.criteria.push(input);
        parts.criteria.len() - 1
    }

    /// Closes the loop: `result` is what the next superstep is given, and what is given in the end. It ends after `max` supersteps,
    /// or with the first of which `stop` is true.
    pub fn close<T: Data>(
        self,
        result: &DataStream<T>,
        max: u64,
        stop: impl Fn(&Superstep<'_>) -> bool + Send + Sync + 'static,
    ) -> DataStream<T> {
        let input = result.input();
        self.turn_back(input, true, max, stop);
        DataStream::new(&self.env, self.exit(self.head, 1))
    }

    /// As [`LoopBuilder::close`], of a table.
    ///
    /// # Errors
    /// [`Error::Plan`](crate::Error::Plan) if the columns of the result are not those of what the loop began with.
    pub fn close_table(
        self,
        result: &Table,
        max: u64,
        stop: impl Fn(&Superstep<'_>) -> bool + Send + Sync + 'static,
    ) -> Result<Table> {
        let schema = result.schema().clone();
        self.turn_back(result.input_by(Distribution::Forward), true, max, stop);
        Ok(Table::new(&self.env, self.exit(self.head, 1), schema))
    }

    /// Closes a loop whose result is not what goes around in it but what the operation `keeper`, which is in the loop, has in
    /// the end: it sends it on port 1 when its inputs have ended.
    pub fn close_around<T: Data, R: Data>(
        self,
        workset: &DataStream<T>,
        keeper: &DataStream<R>,
        max: u64,
        stop: impl Fn(&Superstep<'_>) -> bool + Send + Sync + 'static,
    ) -> DataStream<R> {
        self.turn_back(workset.input(), false, max, stop);
        DataStream::new(&self.env, self.exit(keeper.node, 1))
    }

    /// Adds the tail, and the way back to the head.
    fn turn_back(&self, result: Input, delivers: bool, max: u64, stop: impl Fn(&Superstep<'_>) -> bool + Send + Sync + 'static) {
        let Parts { aggregates, names, criteria, wishes } = std::mem::take(&mut *self.parts());
        if self.asynchronous {
            let head = &mut self.env.graph().nodes[self.head];
            head.body = Body::AsynchronousLoopHead(wishes);
            head.feedback = vec![Input { codec: self.codec.clone(), ..result }];
            return;
        }
        let settings = Arc::new(LoopSettings { max, aggregates, names, stop: Box::new(stop), delivers });
        // Set here and nowhere else.
        let _ = self.settings.set(settings.clone());
        let inputs: Vec<Input> = [result].into_iter().chain(criteria).collect();
        let (id, count) = (self.id, inputs.len());
        let make = move |context: &TaskContext| -> Result<Box<dyn Operator>> {
            Ok(Box::new(Tail::new(settings.clone(), id, count, context)))
        };
        let mut tail = Node::operator("superstep", inputs, Arc::new(make));
        (tail.outputs, tail.aware) = (2, true);
        let tail = self.env.add(tail);
        let back = |port, distribution, codec| Input { node: tail, port, distribution, codec };
        let control = Some(typed_batch_codec::<super::control::ControlRecord>());
        let mut graph = self.env.graph();
        let head = &mut graph.nodes[self.head];
        head.feedback = vec![back(0, Distribution::Forward, self.codec.clone()), back(1, Distribution::Broadcast, control)];
        head.detail = if max == u64::MAX { String::new() } else { format!("at most {max} supersteps") };
    }

    fn exit(&self, node: NodeId, port: usize) -> NodeId {
        let mut exit = Node::operator(
            "result",
            vec![Input { node, port, distribution: Distribution::Forward, codec: None }],
            Arc::new(|context| Err(not_closed(&context.name))),
        );
        exit.body = Body::LoopExit;
        self.env.add(exit)
    }
}

fn not_closed(name: &str) -> crate::Error {
    crate::Error::Plan(format!("`{name}` was begun and not closed"))
}

/// A loop over a stream that need not end, being built: records that come back are merged with those that come from outside.
///
/// The loop's head passes watermarks and barriers of the stream from outside at once; records on their way around the loop are
/// part of a checkpoint. When the stream has ended, the loop goes on until it is empty.
#[must_use = "a loop that is not closed cannot run"]
pub struct FeedbackBuilder {
    env: Env,
    head: NodeId,
    codec: Option<Arc<dyn BatchCodec>>,
}

impl FeedbackBuilder {
    /// A loop that `stream` enters: gives what is in it.
    pub fn begin<T: Data>(kind: &'static str, stream: &DataStream<T>) -> (Self, DataStream<T>) {
        let mut node = stream.after(kind, String::new(), Body::StreamingLoopHead);
        node.memory = HEAD_SEGMENTS;
        node.estimate = None;
        let codec = node.inputs[0].codec.clone();
        let head = stream.env().add(node);
        (Self { env: stream.env().clone(), head, codec }, DataStream::new(stream.env(), head))
    }

    /// Closes the loop: the records of `back` enter it again. Gives `result` outside of the loop.
    pub fn close<T: Data, R: Data>(self, back: &DataStream<T>, result: &DataStream<R>) -> DataStream<R> {
        let input = Input { codec: self.codec, ..back.input() };
        self.env.graph().nodes[self.head].feedback = vec![input];
        let result = result.settled();
        let mut exit = result.after("result", String::new(), Body::LoopExit);
        exit.estimate = None;
        DataStream::new(&self.env, self.env.add(exit))
    }
}
