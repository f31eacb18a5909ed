//! Jobs that iterate, under torture: a bulk loop whose steps depend on an aggregator, a delta loop, and a loop over a stream. They go on from
//! the end of a superstep, or with the records that were on their way around.

use crate::life::Life;
use crate::output::{difference, lines};
use crate::program::{Job, Orders};
use crate::random::mix;
use crate::torture::Torture;
use fluvial::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// Which loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loop {
    Bulk,
    Delta,
    Feedback,
}

const SUPERSTEPS: u64 = 120;
const NUMBERS: u64 = 600;
/// A chain of so many vertices: labels go one vertex further in each superstep.
const VERTICES: u64 = 160;
const EVENTS: u64 = 10_000;

/// Takes some time over a record, so that there is time to kill.
fn dawdle(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Numbers that go round; how far each goes depends on where all of them were in the superstep before.
fn bulk(env: &Env, pause: Duration) -> DataStream<String> {
    let hops = env.sequence(0..NUMBERS).map(|n| (n, mix(n) % NUMBERS));
    let numbers = env.sequence(0..NUMBERS).map(|n| (n, n)).iterate(SUPERSTEPS, |partial, it| {
        let (total, most, superstep) = (it.sum::<u64>("total"), it.max::<u64>("most"), it.superstep());
        let hopped = partial.key_by(|p| p.1).join(&hops.key_by(|h| h.0)).inner(|p, hop| (p.0, hop.1));
        hopped.map(move |(n, at)| {
            dawdle(pause);
            let last = total.last().unwrap_or(1) ^ most.last().flatten().unwrap_or(1);
            let at = (at + mix(last ^ n) + superstep.get()) % NUMBERS;
            total.add(at * at);
            most.add(at ^ n);
            (n, at)
        })
    });
    numbers.uid("numbers").map(|(n, at)| format!("number/{n} {at}"))
}

/// The smallest vertex that each vertex is connected with.
fn delta(env: &Env, pause: Duration) -> DataStream<String> {
    let edges = env.sequence(0..VERTICES - 1).filter(|v| v % 80 != 79).flat_map(|v| [(v, v + 1), (v + 1, v)]);
    let labels = env.sequence(0..VERTICES).map(|v| (v, v));
    let components = labels.iterate_delta(
        |l| l.0,
        &labels,
        u64::MAX,
        |solution, workset, it| {
            let changes = it.count("changes");
            let heard = workset.key_by(|l| l.0).join(&edges.key_by(|e| e.0)).inner(|label, edge| (edge.1, label.1));
            let least = heard.key_by(|h| h.0).min_by(|h| h.1);
            let changed = solution.join(
                &least,
                |l| l.0,
                move |l, known| {
                    dawdle(pause);
                    let changed = known.filter(|known| l.1 < known.1).map(|_| l);
                    changes.add(changed.is_some().into());
                    changed
                },
            );
            (changed.clone(), changed)
        },
    );
    components.uid("components").map(|(vertex, label)| format!("vertex/{vertex} {label}"))
}

/// Counts how often the record of its key has come by.
struct Visits(ValueState<u64>);

impl KeyedProcessFunction<u64, (u64, u64)> for Visits {
    type Output = (u64, u64, u64);
    fn process(&mut self, (event, left): (u64, u64), context: &mut KeyedContext<'_, u64, Self::Output>) -> Result<()> {
        let visits = self.0.get().unwrap_or(0) + 1;
        self.0.set(visits);
        context.emit((event, left, visits));
        Ok(())
    }
}

/// Each event goes around a number of times that depends on it, and is counted each time it comes by: one that is lost never leaves, one that
/// comes twice is counted too often.
fn feedback(env: &Env, rate: Option<f64>) -> DataStream<String> {
    let events = env.generator(|n| n).count(EVENTS);
    let events = if let Some(rate) = rate { events.rate(rate) } else { events };
    let left = events.stream().map(|n| (n, 1 + mix(n) % 200)).feedback(|records| {
        let seen = records.key_by(|r| r.0).process(|state| Ok(Visits(state.value("visits")?)));
        let back = seen.filter(|r| r.1 > 0).map(|(event, left, _)| (event, left - 1)).rebalance();
        (back, seen.filter(|r| r.1 == 0).map(|(event, _, visits)| (event, visits)))
    });
    left.map(|(event, visits)| format!("event/{event} {visits}"))
}

/// Adds the job to its environment: as fast as it goes, or so slowly that there is time to kill.
pub fn add(env: &Env, which: Loop, rate: Option<f64>, out: &Path) -> Result<()> {
    let pause = |micros: u64| Duration::from_micros(if rate.is_some() { micros } else { 0 });
    let lines = match which {
        Loop::Bulk => bulk(env, pause(20)),
        Loop::Delta => delta(env, pause(4_000)),
        Loop::Feedback => feedback(env, rate),
    };
    lines.write_files(out).text().transactional().add()
}

/// What a run gives that nobody disturbs.
fn undisturbed(which: Loop) -> Vec<String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (job, path) = (Job::Iterates(which), folder.path().to_owned());
    let orders = Orders { job, folder: path, processes: 1, threads: 2, checkpoints: None, rate: None, disk: false };
    let (status, said, gone) = Life::start(&orders, 0, None).end();
    assert!(status.success(), "{said}");
    gone.wait();
    lines(&orders.out())
}

fn torture(name: &'static str, which: Loop, seconds: u64, expected: &[String]) {
    let torture = Torture { kills: 8, ..Torture::of(name, Job::Iterates(which), EVENTS as f64 / 2.0) };
    torture.go_on(seconds, |orders| difference(&lines(&orders.out()), expected));
}

#[test]
fn a_killed_bulk_iteration_goes_on_with_its_aggregators() {
    let expected = undisturbed(Loop::Bulk);
    assert_eq!(expected.len() as u64, NUMBERS);
    torture("bulk", Loop::Bulk, 15, &expected);
}

#[test]
fn a_killed_delta_iteration_goes_on_with_its_solution_set() {
    let expected = undisturbed(Loop::Delta);
    let mut by_hand: Vec<String> = (0..VERTICES).map(|v| format!("vertex/{v} {}", v / 80 * 80)).collect();
    by_hand.sort();
    assert_eq!(expected, by_hand);
    torture("delta", Loop::Delta, 15, &expected);
}

#[test]
fn records_on_their_way_around_a_loop_survive_a_kill() {
    let expected = undisturbed(Loop::Feedback);
    let mut by_hand: Vec<String> = (0..EVENTS).map(|n| format!("event/{n} {}", 2 + mix(n) % 200)).collect();
    by_hand.sort();
    assert_eq!(expected, by_hand);
    torture("feedback", Loop::Feedback, 15, &expected);
}
