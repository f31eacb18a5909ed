//! Event and processing time at the harness: inputs that fall idle and resume, operators that hold back, timers.

mod kit;

use fluvial_core::runtime::{Edge, Mesh, NodeKind, Plan, PlanNode, Route};
use fluvial_core::{Batch, Clock, Operator, OperatorContext, Output, Progress, Result, Source};
use kit::driven::{Driver, Log, Say, driven};
use kit::{config, node, values};
use std::sync::Arc;

/// What an operator was called with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Record(u64),
    Watermark(i64),
    Timer(i64),
    InputEnds(usize),
    Finish,
}

use Seen::{Finish, InputEnds, Record, Timer, Watermark};

struct Sees(Log<Seen>);

impl Operator for Sees {
    fn process(&mut self, _: usize, batch: Batch, _: &mut dyn Output) -> Result<Progress> {
        values(batch).into_iter().for_each(|value| self.0.add(Record(value)));
        Ok(Progress::Done)
    }
    fn on_watermark(&mut self, watermark: i64, _: &mut dyn Output) -> Result<Progress> {
        self.0.add(Watermark(watermark));
        Ok(Progress::Done)
    }
    fn end_input(&mut self, input: usize, _: &mut dyn Output) -> Result<Progress> {
        self.0.add(InputEnds(input));
        Ok(Progress::Done)
    }
}

fn sees(log: &Log<Seen>) -> NodeKind {
    let log = log.clone();
    NodeKind::Operator(Arc::new(move |_| Ok(Box::new(Sees(log.clone())))))
}

/// Runs a plan on one worker while `steps` drive it.
fn run(nodes: Vec<PlanNode>, clock: Clock, steps: impl FnOnce()) {
    let mesh = Mesh::start(fluvial_core::runtime::RunConfig { clock, ..config(1) }).unwrap();
    let plan = Plan::new("time", nodes);
    let job = mesh.submit(&plan).unwrap();
    steps();
    job.wait().unwrap();
}

#[test]
fn the_watermark_of_three_inputs_that_fall_idle_and_resume_never_goes_back() {
    let [a, b, c] = [(); 3].map(|()| Driver::default());
    let log = Log::default();
    let nodes = vec![
        node(0, "a", driven(std::slice::from_ref(&a)), vec![], 1),
        node(1, "b", driven(std::slice::from_ref(&b)), vec![], 1),
        node(2, "c", driven(std::slice::from_ref(&c)), vec![], 1),
        node(3, "sees", sees(&log), vec![Edge::forward(0, 0), Edge::forward(1, 0), Edge::forward(2, 0)], 0),
    ];
    run(nodes, Clock::system(), || {
        a.tell(Say::Watermark(10));
        b.tell(Say::Watermark(20));
        c.tell(Say::Watermark(30));
        log.wait_for(&Watermark(10));
        a.tell(Say::Idle(true));
        log.wait_for(&Watermark(20));
        b.tell(Say::Idle(true));
        log.wait_for(&Watermark(30));
        c.tell(Say::Idle(true));
        // Resumes behind the others, with records that are late.
        b.tell(Say::Watermark(25));
        b.tell(Say::Idle(false));
        b.tell(Say::Send(26));
        log.wait_for(&Record(26));
        b.tell(Say::Watermark(40));
        log.wait_for(&Watermark(40));
        c.tell(Say::Watermark(35));
        c.tell(Say::Idle(false));
        b.tell(Say::Watermark(50));
        b.tell(Say::Send(51));
        log.wait_for(&Record(51));
        c.tell(Say::Watermark(45));
        log.wait_for(&Watermark(45));
        c.tell(Say::End);
        log.wait_for(&Watermark(50));
        a.tell(Say::Send(60));
        a.tell(Say::End);
        b.tell(Say::End);
    });
    let watermarks: Vec<Seen> = log.entries().into_iter().filter(|seen| matches!(seen, Watermark(_))).collect();
    assert_eq!(watermarks, [10, 20, 30, 40, 45, 50, i64::MAX].map(Watermark));
}

#[test]
fn a_resumed_instance_does_not_move_time_back() {
    let [a, b] = [(); 2].map(|()| Driver::default());
    let mesh = Mesh::start(config(2)).unwrap();
    let log = Log::default();
    // All of it on the first worker.
    struct ToFirst;
    impl fluvial_core::runtime::Partitioner for ToFirst {
        fn split(&mut self, batch: Batch, _: usize, emit: fluvial_core::runtime::Emit<'_>) -> Result<()> {
            emit(0, batch)
        }
        fn flush(&mut self, _: usize, _: fluvial_core::runtime::Emit<'_>) -> Result<()> {
            Ok(())
        }
    }
    let counted = log.clone();
    let sink = NodeKind::Operator(Arc::new(move |context: &OperatorContext| {
        Ok(Box::new(Sees(if context.worker == 0 { counted.clone() } else { Log::default() })))
    }));
    let route = Route::Partition(Arc::new(|| Box::new(ToFirst)));
    let nodes = vec![
        node(0, "source", driven(&[a.clone(), b.clone()]), vec![], 1),
        node(1, "sees", sink, vec![Edge::new(0, 0, route)], 0),
    ];
    let plan = Plan::new("resume", nodes);
    let job = mesh.submit(&plan).unwrap();
    a.tell(Say::Watermark(5));
    b.tell(Say::Watermark(7));
    log.wait_for(&Watermark(5));
    a.tell(Say::Idle(true));
    b.tell(Say::Watermark(100));
    log.wait_for(&Watermark(100));
    a.tell(Say::Idle(false));
    a.tell(Say::Watermark(50));
    a.tell(Say::Send(51));
    log.wait_for(&Record(51));
    a.tell(Say::Watermark(120));
    b.tell(Say::Watermark(110));
    log.wait_for(&Watermark(110));
    a.tell(Say::End);
    b.tell(Say::End);
    job.wait().unwrap();
    let watermarks: Vec<i64> =
        log.entries().iter().filter_map(|seen| if let Watermark(w) = seen { Some(*w) } else { None }).collect();
    assert!(watermarks.is_sorted_by(|a, b| a < b), "{watermarks:?}");
    assert_eq!(watermarks.last(), Some(&i64::MAX));
}

#[test]
fn a_source_that_waits_for_slower_ones_hears_of_them() {
    /// Sends its numbers in order; none that is more than 10 ahead of the slowest instance.
    struct Aligned {
        next: i64,
        step: i64,
        slowest: i64,
        log: Log<(i64, i64)>,
    }
    impl Source for Aligned {
        fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
            if self.next > 1_000 {
                return Ok(Progress::Done);
            }
            if self.next > self.slowest.saturating_add(10) {
                return Ok(Progress::Waiting);
            }
            self.log.add((self.next, self.slowest));
            self.next += self.step;
            out.send(0, Batch::typed(vec![0u64]))?;
            Ok(Progress::More)
        }
        fn watermark(&self) -> i64 {
            self.next - 1
        }
        fn on_global_watermark(&mut self, watermark: i64) {
            self.slowest = watermark;
        }
    }
    let mesh = Mesh::start(config(2)).unwrap();
    let (logs, seen) = ([Log::default(), Log::default()], Log::default());
    let made = logs.clone();
    let source = NodeKind::Source(Arc::new(move |context: &OperatorContext| {
        let (log, step) = (made[context.worker].clone(), [1, 7][context.worker]);
        Ok(Box::new(Aligned { next: 0, step, slowest: -1, log }))
    }));
    let nodes = vec![node(0, "aligned", source, vec![], 1), node(1, "sees", sees(&seen), vec![Edge::forward(0, 0)], 0)];
    mesh.run(&Plan::new("aligned", nodes)).unwrap();
    assert_eq!(logs.map(|log| log.entries().len()), [1_001, 143]);
}

/// Holds back event time at an even number until an odd one comes.
struct Holds {
    held: i64,
    log: Log<Seen>,
}

impl Operator for Holds {
    fn process(&mut self, _: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        for value in values(batch) {
            self.held = if value % 2 == 0 { value as i64 } else { i64::MAX };
            out.send(0, Batch::typed(vec![value]))?;
        }
        Ok(Progress::Done)
    }
    fn on_watermark(&mut self, watermark: i64, _: &mut dyn Output) -> Result<Progress> {
        self.log.add(Watermark(watermark));
        Ok(Progress::Done)
    }
    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        out.send(0, Batch::typed(vec![self.held as u64 + 1]))?;
        Ok(Progress::Done)
    }
    fn held_watermark(&self) -> i64 {
        self.held
    }
}

#[test]
fn what_an_operator_holds_back_is_not_passed_by_event_time() {
    let source = Driver::default();
    let (told, seen) = (Log::default(), Log::default());
    let log = told.clone();
    let holds = NodeKind::Operator(Arc::new(move |_| Ok(Box::new(Holds { held: i64::MAX, log: log.clone() }))));
    let nodes = vec![
        node(0, "source", driven(std::slice::from_ref(&source)), vec![], 1),
        node(1, "holds", holds, vec![Edge::forward(0, 0)], 1),
        node(2, "sees", sees(&seen), vec![Edge::forward(1, 0)], 0),
    ];
    run(nodes, Clock::system(), || {
        source.tell(Say::Watermark(10));
        seen.wait_for(&Watermark(10));
        source.tell(Say::Send(16));
        source.tell(Say::Watermark(30));
        told.wait_for(&Watermark(30));
        seen.wait_for(&Watermark(16));
        source.tell(Say::Send(20));
        seen.wait_for(&Watermark(20));
        source.tell(Say::Send(1));
        seen.wait_for(&Watermark(30));
        source.tell(Say::Send(40));
        source.tell(Say::Watermark(60));
        seen.wait_for(&Watermark(40));
        source.tell(Say::End);
    });
    let expected = [
        Watermark(10),
        Record(16),
        Watermark(16),
        Record(20),
        Watermark(20),
        Record(1),
        Watermark(30),
        Record(40),
        Watermark(40),
        Record(41),
        Watermark(i64::MAX),
        InputEnds(0),
    ];
    assert_eq!(seen.entries(), expected);
    assert_eq!(told.entries(), [10, 30, 60, i64::MAX].map(Watermark));
}

/// Sets a timer for each record, and one more whenever one is due.
struct Sets(Log<Seen>);

impl Operator for Sets {
    fn process(&mut self, _: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        for value in values(batch) {
            out.set_timer(value as i64);
            self.0.add(Record(value));
        }
        Ok(Progress::Done)
    }
    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        self.0.add(Timer(now));
        out.set_timer(now + 1_000);
        Ok(Progress::Done)
    }
    fn on_watermark(&mut self, watermark: i64, _: &mut dyn Output) -> Result<Progress> {
        self.0.add(Watermark(watermark));
        Ok(Progress::Done)
    }
    fn end_input(&mut self, input: usize, _: &mut dyn Output) -> Result<Progress> {
        self.0.add(InputEnds(input));
        Ok(Progress::Done)
    }
    fn finish(&mut self, _: &mut dyn Output) -> Result<Progress> {
        self.0.add(Finish);
        Ok(Progress::Done)
    }
}

#[test]
fn processing_time_timers_go_by_the_jobs_clock_and_what_is_left_fires_at_the_end() {
    let (source, clock, seen) = (Driver::default(), Clock::manual(0), Log::default());
    let log = seen.clone();
    let sets = NodeKind::Operator(Arc::new(move |_| Ok(Box::new(Sets(log.clone())))));
    let nodes = vec![
        node(0, "source", driven(std::slice::from_ref(&source)), vec![], 1),
        node(1, "sets", sets, vec![Edge::forward(0, 0)], 0),
    ];
    run(nodes, clock.clone(), || {
        source.tell(Say::Send(100));
        source.tell(Say::Send(70));
        seen.wait_for(&Record(70));
        clock.advance_to(69);
        source.tell(Say::Send(500));
        seen.wait_for(&Record(500));
        clock.advance_to(70);
        seen.wait_for(&Timer(70));
        clock.advance_to(150);
        seen.wait_for(&Timer(150));
        source.tell(Say::Send(400));
        source.tell(Say::Send(400));
        source.tell(Say::End);
    });
    let expected = [
        Record(100),
        Record(70),
        Record(500),
        Timer(70),
        Timer(150),
        Record(400),
        Record(400),
        Watermark(i64::MAX),
        InputEnds(0),
        Timer(400),
        Timer(500),
        Timer(1_070),
        Timer(1_150),
        Finish,
    ];
    assert_eq!(seen.entries(), expected);
}
