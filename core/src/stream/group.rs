//! Operations that give a user's function all records of a key, or of a worker, as an iterator.

use super::{Data, DataStream, Emitter, KeyFn, KeySelector, KeyedStream, aggregate::short_type_name};
use crate::blocking::{GroupedRows, Grouping, TypedRows, least};
use crate::chain::{BoxCollector, Context, TypedPort};
use crate::exchange::TypedToRows;
use crate::graph::{Body, Distribution, OperatorFactory, TaskContext, Timing};
use crate::{Batch, Error, Operator, Output, Progress, Result};
use fluvial_memory::NormalizedKey;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Records of a group, one after another; they are read from memory or disk as they are asked for.
pub struct Group<'a, T, S> {
    rows: &'a mut GroupedRows,
    format: &'a TypedRows<T, S>,
    key: &'a [u8],
    error: &'a mut Option<Error>,
}

impl<T: Data, S: KeySelector<T>> Iterator for Group<'_, T, S> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.error.is_some() {
            return None;
        }
        let (shape, key) = (self.rows.shape(), self.key);
        let record = match self.rows.peek() {
            Ok(Some(row)) if shape.key(row) == key => self.format.value(shape.payload(row)),
            Ok(_) => return None,
            Err(error) => Err(error),
        };
        match record {
            Ok(record) => {
                self.rows.advance();
                Some(record)
            }
            Err(error) => {
                *self.error = Some(error);
                None
            }
        }
    }
}

/// All records of a worker, one after another.
pub struct Partition<T> {
    shared: Rc<RefCell<PartitionRows<T>>>,
}

struct PartitionRows<T> {
    rows: GroupedRows,
    format: TypedRows<T, UnitKey<T>>,
    error: Option<Error>,
}

/// No key: records stay in the order in which they came.
pub(super) type UnitKey<T> = KeyFn<fn(&T), ()>;

pub(super) fn unit_key<T>() -> UnitKey<T> {
    KeyFn::new((|_: &T| ()) as fn(&T))
}

impl<T: Data> Iterator for Partition<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let PartitionRows { rows, format, error } = &mut *self.shared.borrow_mut();
        Group { rows, format, key: &[], error }.next()
    }
}

impl<T: Data> DataStream<T> {
    /// Gives a function all records of each worker, in the order in which they came, as an iterator, and takes its results as
    /// an iterator. The records may be more than fit in memory.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let counts = env.sequence(0..1000).map_partition(|numbers| std::iter::once(numbers.count() as u64));
    /// assert_eq!(counts.collect()?.into_iter().sum::<u64>(), 1000);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn map_partition<U: Data, I: Iterator<Item = U> + 'static>(
        &self,
        f: impl Fn(Partition<T>) -> I + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let make: OperatorFactory = Arc::new(move |context| {
            let format = TypedRows::new(unit_key());
            let grouping = Box::new(Grouping::open(&format, context)?);
            let f = f.clone();
            let operator: Box<dyn Operator> = Box::new(MapPartition { stage: PartitionStage::Collecting(grouping, format), f });
            Ok(operator)
        });
        let node =
            self.after("map_partition", String::new(), Body::Operator(make)).reserves(least::GROUPING).timing(Timing::AtTheEnd);
        DataStream::new(&self.env, self.env.add(node))
    }
}

enum PartitionStage<T, I> {
    Collecting(Box<Grouping>, TypedRows<T, UnitKey<T>>),
    Giving(Rc<RefCell<PartitionRows<T>>>, I),
    Done,
}

struct MapPartition<T, I, F> {
    stage: PartitionStage<T, I>,
    f: F,
}

impl<T: Data, U: Data, I: Iterator<Item = U> + 'static, F: Fn(Partition<T>) -> I + 'static> Operator for MapPartition<T, I, F> {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        match &mut self.stage {
            PartitionStage::Collecting(grouping, format) => grouping.push(format, batch),
            _ => unreachable!("records come before the end of the input"),
        }
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        match &mut self.stage {
            PartitionStage::Collecting(grouping, _) => grouping.resume(),
            _ => Ok(Progress::Done),
        }
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if let PartitionStage::Collecting(grouping, _) = &mut self.stage {
            let progress = grouping.finish()?;
            if progress != Progress::Done {
                return Ok(progress);
            }
            let collected = std::mem::replace(&mut self.stage, PartitionStage::Done);
            if let PartitionStage::Collecting(grouping, format) = collected {
                let shared = Rc::new(RefCell::new(PartitionRows { rows: grouping.into_rows()?, format, error: None }));
                let results = (self.f)(Partition { shared: shared.clone() });
                self.stage = PartitionStage::Giving(shared, results);
            }
        }
        let PartitionStage::Giving(shared, results) = &mut self.stage else { return Ok(Progress::Done) };
        loop {
            let batch: Vec<U> = results.by_ref().take(1024).collect();
            if let Some(error) = shared.borrow_mut().error.take() {
                return Err(error);
            }
            if batch.is_empty() {
                self.stage = PartitionStage::Done;
                return Ok(Progress::Done);
            }
            out.send(0, Batch::typed(batch))?;
            if out.congested(0) {
                return Ok(Progress::More);
            }
        }
    }
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// Gives a function each key with an iterator over its records; what it pushes is the result. Keys come in order on each
    /// worker. A group may be larger than memory.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let words = env.from_collection(["ant", "bee", "asp"].map(String::from));
    /// let joined = words
    ///     .key_by(|w| w.chars().next().unwrap_or(' '))
    ///     .reduce_group(|key, words, out| out.push(format!("{key}: {}", words.count())));
    /// let mut joined = joined.collect()?;
    /// joined.sort();
    /// assert_eq!(joined, ["a: 2", "b: 1"]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn reduce_group<U: Data>(
        &self,
        f: impl FnMut(&S::Key, &mut Group<'_, T, S>, &mut Emitter<'_, '_, U>) + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let selector = self.selector.clone();
        let make: OperatorFactory = Arc::new(move |context| {
            let side = GroupSide::open(selector.clone(), context)?;
            let operator: Box<dyn Operator> = Box::new(ReduceGroup { side, f: f.clone(), port: Box::new(TypedPort::new(0)) });
            Ok(operator)
        });
        let mut node = self
            .stream
            .after("reduce_group", String::new(), Body::Operator(make))
            .reserves(least::GROUPING)
            .timing(Timing::AtTheEnd);
        node.inputs[0].distribution = self.to_rows();
        DataStream::new(&self.stream.env, self.stream.env.add(node))
    }

    /// Folds the records of each key, in no particular order, into one value.
    pub fn fold<A: Data + Sync>(
        &self,
        initial: A,
        f: impl FnMut(&mut A, T) + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, A)> {
        let mut f = f;
        self.reduce_group(move |key, records, out| {
            let mut value = initial.clone();
            records.for_each(|record| f(&mut value, record));
            out.push((key.clone(), value));
        })
    }

    /// Gives a function each key with the records of both streams that have it; one side may have none.
    pub fn co_group<R: Data, RS: KeySelector<R, Key = S::Key>, U: Data>(
        &self,
        right: &KeyedStream<R, RS>,
        f: impl FnMut(&S::Key, &mut Group<'_, T, S>, &mut Group<'_, R, RS>, &mut Emitter<'_, '_, U>) + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let (left_selector, right_selector) = (self.selector.clone(), right.selector.clone());
        let make: OperatorFactory = Arc::new(move |context| {
            let left = GroupSide::open(left_selector.clone(), context)?;
            let right = GroupSide::open(right_selector.clone(), context)?;
            let operator: Box<dyn Operator> = Box::new(CoGroup { left, right, f: f.clone(), port: Box::new(TypedPort::new(0)) });
            Ok(operator)
        });
        let mut node = self
            .stream
            .after("co_group", String::new(), Body::Operator(make))
            .reserves(2 * least::GROUPING)
            .timing(Timing::AtTheEnd);
        node.inputs = vec![self.stream.input_by(self.to_rows()), right.stream.input_by(right.to_rows())];
        node.bounded &= right.stream.known().0;
        node.estimate = None;
        DataStream::new(&self.stream.env, self.stream.env.add(node))
    }

    /// Each worker gets the rows of its keys.
    fn to_rows(&self) -> Distribution {
        let selector = self.selector.clone();
        Distribution::Hash {
            key: short_type_name::<S::Key>(),
            partitioner: Arc::new(move || Box::new(TypedToRows::<T, S>::new(selector.clone()))),
        }
    }
}

/// One input of a grouping operator: first collected, then read group by group.
struct GroupSide<T, S> {
    format: TypedRows<T, S>,
    grouping: Option<Grouping>,
    rows: Option<GroupedRows>,
}

impl<T: Data, S: KeySelector<T>> GroupSide<T, S> {
    fn open(selector: S, context: &TaskContext) -> Result<Self> {
        let format = TypedRows::new(selector);
        let grouping = Some(Grouping::open(&format, context)?);
        Ok(Self { format, grouping, rows: None })
    }

    fn push(&mut self, batch: Batch) -> Result<Progress> {
        self.grouping.as_mut().map_or(Ok(Progress::Done), |g| g.push(&mut self.format, batch))
    }

    fn resume(&mut self) -> Result<Progress> {
        self.grouping.as_mut().map_or(Ok(Progress::Done), Grouping::resume)
    }

    fn finish(&mut self) -> Result<Progress> {
        if let Some(grouping) = &mut self.grouping {
            let progress = grouping.finish()?;
            if progress != Progress::Done {
                return Ok(progress);
            }
        }
        if let Some(grouping) = self.grouping.take() {
            self.rows = Some(grouping.into_rows()?);
        }
        Ok(Progress::Done)
    }

    fn peek_key(&mut self) -> Result<Option<Vec<u8>>> {
        match &mut self.rows {
            Some(rows) => Ok(rows.peek_key()?.map(<[u8]>::to_vec)),
            None => Ok(None),
        }
    }

    fn skip(&mut self, key: &[u8]) -> Result<()> {
        self.rows.as_mut().map_or(Ok(()), |rows| rows.skip_key(key))
    }
}

struct ReduceGroup<T, S, F, U> {
    side: GroupSide<T, S>,
    f: F,
    port: BoxCollector<U>,
}

impl<T, S, F, U> Operator for ReduceGroup<T, S, F, U>
where
    T: Data,
    S: KeySelector<T>,
    U: Data,
    F: FnMut(&S::Key, &mut Group<'_, T, S>, &mut Emitter<'_, '_, U>) + 'static,
{
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        self.side.push(batch)
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        self.side.resume()
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let progress = self.side.finish()?;
        if progress != Progress::Done {
            return Ok(progress);
        }
        let mut context = Context::new(out);
        while let Some(key) = self.side.peek_key()? {
            let typed = S::Key::decode(&mut key.as_slice())?;
            let mut error = None;
            if let Some(rows) = &mut self.side.rows {
                let mut group = Group { rows, format: &self.side.format, key: &key, error: &mut error };
                (self.f)(&typed, &mut group, &mut Emitter::new(&mut self.port, &mut context));
            }
            error.map_or(Ok(()), Err)?;
            self.side.skip(&key)?;
            if context.out.congested(0) {
                self.port.end_batch(None, &mut context);
                context.check()?;
                return Ok(Progress::More);
            }
        }
        self.port.end_batch(None, &mut context);
        context.check()?;
        Ok(Progress::Done)
    }
}

struct CoGroup<L, LS, R, RS, F, U> {
    left: GroupSide<L, LS>,
    right: GroupSide<R, RS>,
    f: F,
    port: BoxCollector<U>,
}

impl<L, LS, R, RS, F, U> Operator for CoGroup<L, LS, R, RS, F, U>
where
    L: Data,
    LS: KeySelector<L>,
    R: Data,
    RS: KeySelector<R, Key = LS::Key>,
    U: Data,
    F: FnMut(&LS::Key, &mut Group<'_, L, LS>, &mut Group<'_, R, RS>, &mut Emitter<'_, '_, U>) + 'static,
{
    fn process(&mut self, input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        if input == 0 { self.left.push(batch) } else { self.right.push(batch) }
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        match self.left.resume()? {
            Progress::Done => self.right.resume(),
            other => Ok(other),
        }
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        for progress in [self.left.finish()?, self.right.finish()?] {
            if progress != Progress::Done {
                return Ok(progress);
            }
        }
        let mut context = Context::new(out);
        loop {
            let key = match (self.left.peek_key()?, self.right.peek_key()?) {
                (None, None) => break,
                (Some(key), None) | (None, Some(key)) => key,
                (Some(l), Some(r)) => l.min(r),
            };
            let typed = LS::Key::decode(&mut key.as_slice())?;
            let (mut left_error, mut right_error) = (None, None);
            if let (Some(left), Some(right)) = (&mut self.left.rows, &mut self.right.rows) {
                let mut left = Group { rows: left, format: &self.left.format, key: &key, error: &mut left_error };
                let mut right = Group { rows: right, format: &self.right.format, key: &key, error: &mut right_error };
                (self.f)(&typed, &mut left, &mut right, &mut Emitter::new(&mut self.port, &mut context));
            }
            left_error.or(right_error).map_or(Ok(()), Err)?;
            self.left.skip(&key)?;
            self.right.skip(&key)?;
            if context.out.congested(0) {
                self.port.end_batch(None, &mut context);
                context.check()?;
                return Ok(Progress::More);
            }
        }
        self.port.end_batch(None, &mut context);
        context.check()?;
        Ok(Progress::Done)
    }
}
