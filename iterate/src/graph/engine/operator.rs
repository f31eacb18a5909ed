use super::block::Ledger;
use super::build::Edges;
use super::dictionary::{Dictionary, Interner};
use super::kernel::{Kernel, Prepared, Weights};
use super::pulse::Pulse;
use super::raw::{Chunk, Intake, Totals};
use super::team::{Member, Team};
use super::worker::Worker;
use crate::graph::{Supersteps, VertexId};
use fluvial_core::{Batch, Error, Operator, Output, Progress, Result, TaskContext, format_bytes};
use fluvial_memory::{Reservation, SEGMENT_SIZE};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, RwLock};
use std::task::{Context, Poll, Waker};

/// Takes a graph's edges and vertices, and runs a kernel when they have ended.
pub(crate) struct GraphOperator<I, K> {
    kernel: Arc<K>,
    directed: bool,
    worker: Rc<Worker>,
    pulse: Rc<Pulse>,
    common: Arc<Common>,
    intake: Option<Intake>,
    /// The kernel at work.
    running: Option<Pin<Box<dyn Future<Output = Result<()>>>>>,
    done: bool,
    ids: std::marker::PhantomData<fn() -> I>,
}

/// Segments of a worker's buffers while its edges are on disk.
const BUFFERS: usize = 64;

/// What the workers of a process have in common.
struct Common {
    team: Arc<Team>,
    ledger: Arc<Ledger>,
    interner: Interner,
    chunks: Mutex<Vec<Chunk>>,
}

impl<I: VertexId, K: Kernel<I>> GraphOperator<I, K> {
    /// Segments that each instance reserves: enough for its buffers while the edges are on disk.
    pub(crate) const SEGMENTS: usize = BUFFERS + K::SPARE[0] + K::SPARE[1];

    /// # Errors
    /// The memory that the operation has promised to need is not there, or the kernel's options make no sense.
    pub(crate) fn new(context: &TaskContext, kernel: &Arc<K>, directed: bool, supersteps: &Option<Supersteps>) -> Result<Self> {
        kernel.check()?;
        let reservation = context.reserve(BUFFERS)?;
        let spare = [context.reserve(K::SPARE[0])?, context.reserve(K::SPARE[1])?];
        // Of its own: what the workers have in common may outlive them by a moment, and must hold nothing that another job waits for.
        let heap = context.memory.reserve(&context.name, 0)?;
        let common = context.shared(|| Common {
            team: Arc::new(Team::new(context.local_workers)),
            ledger: Arc::new(Ledger::new(
                reservation.limit().saturating_sub(context.local_workers * (K::SPARE[0] + K::SPARE[1])),
            )),
            interner: Interner::new(&heap),
            chunks: Mutex::default(),
        });
        let pulse = Rc::new(Pulse::new());
        let member = Member::new(common.team.clone(), context.local_worker, context.waker.clone(), pulse.clone());
        let supersteps = supersteps.clone().unwrap_or_default();
        let worker = Worker::new(context, (&reservation, spare), &common.ledger, (member, pulse.clone()), supersteps);
        let intake = Intake::new(worker.maker(), kernel.weights() != Weights::Ignored);
        Ok(Self {
            kernel: kernel.clone(),
            directed,
            worker: Rc::new(worker),
            pulse,
            common,
            intake: Some(intake),
            running: None,
            done: false,
            ids: std::marker::PhantomData,
        })
    }

    /// Runs the kernel until it has to wait, has had its time, or has ended.
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if self.done {
            return Ok(Progress::Done);
        }
        if out.congested(0) {
            return Ok(Progress::More);
        }
        if self.running.is_none() {
            self.worker.input_ended();
            let begin =
                begin::<I, K>(self.kernel.clone(), self.worker.clone(), self.common.clone(), self.intake.take(), self.directed);
            self.running = Some(Box::pin(begin));
        }
        self.pulse.begin();
        let polled = match &mut self.running {
            Some(running) => running.as_mut().poll(&mut Context::from_waker(Waker::noop())),
            None => Poll::Ready(Ok(())),
        };
        for batch in self.worker.outbox.borrow_mut().drain(..) {
            out.send(0, batch)?;
        }
        match polled {
            Poll::Pending => Ok(self.pulse.progress()),
            Poll::Ready(result) => {
                self.running = None;
                self.done = true;
                result.map(|()| Progress::Done)
            }
        }
    }
}

/// Compacts ids, then runs the kernel.
async fn begin<I: VertexId, K: Kernel<I>>(
    kernel: Arc<K>,
    worker: Rc<Worker>,
    common: Arc<Common>,
    intake: Option<Intake>,
    directed: bool,
) -> Result<()> {
    let (chunks, own) = intake.map_or_else(|| Ok(Default::default()), Intake::finish)?;
    common.chunks.lock().unwrap_or_else(|e| e.into_inner()).extend(chunks);
    let bits = worker.tell([own.edges, own.bits, 0, 0], |all| {
        all.fold(Totals::default(), |sum, [edges, bits, ..]| Totals { edges: sum.edges + edges, bits: sum.bits | bits })
    });
    let totals = bits.await;
    let weighted = kernel.weights() != Weights::Ignored;
    let take = || {
        let chunks = std::mem::take(&mut *common.chunks.lock().unwrap_or_else(|e| e.into_inner()));
        Ok(Edges { chunks: chunks.into_iter().map(RwLock::new).collect(), weighted })
    };
    let edges = worker.share(take).await?;
    let dictionary = if I::TEXT {
        common.interner.dictionary(&worker).await?
    } else {
        Dictionary::of_numbers(&worker, &edges.chunks, totals, weighted).await?
    };
    let bytes = kernel.bytes_per_vertex(worker.members());
    let size = (u64::from(dictionary.vertices), totals.edges);
    worker.divide_memory(dictionary.vertices, bytes);
    worker.begin(size.0, size.1);
    let result = kernel.run(&worker, Prepared { edges, dictionary, directed }).await;
    result.map_err(|error| of_graph(error, &worker, size, bytes))
}

/// A lack of memory, told by what needs it.
fn of_graph(error: Error, worker: &Worker, (vertices, edges): (u64, u64), bytes: usize) -> Error {
    let Error::Memory(fluvial_memory::Error::BudgetTooSmall { budget, .. }) = &error else { return error };
    let spare: usize = worker.spare.iter().map(Reservation::minimum).sum();
    let buffers = (worker.members() * (BUFFERS + spare) * SEGMENT_SIZE) as u64;
    let values = vertices * bytes as u64;
    let [given, needed, values, buffers] = [*budget as u64, values + buffers, values, buffers].map(format_bytes);
    Error::Plan(format!(
        "memory: {given} given, `{}` of {vertices} vertices and {edges} edges needs about {needed}: {values} for values of vertices ({bytes} bytes \
         each) and {buffers} for buffers; edges may be on disk ({error})",
        worker.context.name
    ))
}

impl<I: VertexId, K: Kernel<I>> Operator for GraphOperator<I, K> {
    fn process(&mut self, input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        if let Some(intake) = &mut self.intake {
            if input == 0 {
                I::take_edges(batch, intake, &self.common.interner, self.kernel.weights())?;
            } else {
                I::take_vertices(batch, intake, &self.common.interner)?;
            }
        }
        Ok(Progress::Done)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.poll(out)
    }

    fn abort(&mut self) {
        self.running = None;
        self.intake = None;
        self.done = true;
    }
}
