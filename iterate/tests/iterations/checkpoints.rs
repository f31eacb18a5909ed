//! A bounded job that iterates goes on from the end of a superstep.

use crate::kit::sorted;
use fluvial_core::{Checkpoints, Config, Env, Restart, RestoreFrom, Result};
use fluvial_iterate::{Iterate, IterateDelta};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SUPERSTEPS: u64 = 60;

fn config(threads: usize, folder: &std::path::Path) -> Config {
    Config {
        threads,
        checkpoints: Some(Checkpoints::to_folder(folder).every(Duration::from_millis(5)).from(RestoreFrom::LatestIfAny)),
        restart: Restart::fixed_delay(5, Duration::from_millis(1)),
        ..Config::default()
    }
}

/// Waits a little in each superstep, so that there is time for checkpoints.
fn dawdle() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(20) {
        std::hint::spin_loop();
    }
}

#[test]
fn a_bulk_iteration_goes_on_from_a_superstep_after_a_failure() -> Result<()> {
    for threads in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        let env = Env::new(config(threads, folder.path()));
        let begun: Arc<Mutex<Vec<u64>>> = Arc::default();
        let failures = Arc::new(AtomicU64::new(0));
        let steps = env.sequence(0..200).map(|n| (n, (n * 3 + 1) % 200)).key_by(|s| s.0).reduce(|a, _| a);
        let (noted, failed) = (begun.clone(), failures.clone());
        let result = env.sequence(0..200).map(|n| (n, n)).iterate(SUPERSTEPS, |partial, it| {
            let (total, superstep) = (it.sum::<u64>("total"), it.superstep());
            let next = partial.key_by(|r| r.1).join(&steps.key_by(|s| s.0)).inner(|r, s| (r.0, s.1));
            next.map(move |r| {
                dawdle();
                let now = superstep.get();
                if r.0 == 0 {
                    noted.lock().unwrap().push(now);
                    // Some superstep far from the first.
                    assert!(!(now == 40 && failed.fetch_add(1, SeqCst) == 0), "by chance");
                }
                // All numbers go round: the sum of a superstep is that of each other.
                assert_eq!(total.last(), (now > 0).then_some(19_900), "superstep {now}");
                total.add(r.1);
                r
            })
        });
        // Behind the loop an operation that keeps no state.
        let result = result.sort_by(|r| r.0);
        let turn = |n: u64| (0..SUPERSTEPS).fold(n, |at, _| (at * 3 + 1) % 200);
        assert_eq!(result.collect()?, (0..200).map(|n| (n, turn(n))).collect::<Vec<_>>(), "{threads} workers");
        let report = env.last_report().unwrap();
        assert_eq!((report.restarts.len(), failures.load(SeqCst)), (1, 2), "{:?}", report.restarts);
        assert!(report.restarts[0].checkpoint.is_some() && report.checkpoints.completed > 0, "{:?}", report.checkpoints);
        // It did not begin at the beginning again.
        let begun = begun.lock().unwrap();
        let again = begun.iter().skip_while(|s| **s != 40).nth(1).copied().unwrap();
        assert!(again > 0 && again <= 40, "superstep {again} came after the failure");
        assert_eq!(begun.iter().collect::<BTreeSet<_>>().len() as u64, SUPERSTEPS);
    }
    Ok(())
}

#[test]
fn a_delta_iteration_goes_on_with_its_solution_set_in_another_number_of_workers() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let failures = Arc::new(AtomicU64::new(0));
    let run = |threads: usize, restart: Restart, fails: bool| -> Result<Vec<(u64, u64)>> {
        let env = Env::new(Config { restart, ..config(threads, folder.path()) });
        let failed = failures.clone();
        let edges = env.sequence(0..300).flat_map(|v| [(v, (v + 1) % 300), ((v + 1) % 300, v)]);
        let labels = env.sequence(0..300).map(|v| (v, v));
        let result = labels.iterate_delta(
            |l| l.0,
            &labels,
            u64::MAX,
            |solution, workset, it| {
                let superstep = it.superstep();
                let heard = workset.key_by(|l| l.0).join(&edges.key_by(|e| e.0)).inner(|label, edge| (edge.1, label.1));
                let smallest = heard.key_by(|h| h.0).reduce(|a, b| if a.1 <= b.1 { a } else { b });
                let changed = solution.join(
                    &smallest,
                    |s| s.0,
                    move |s, known| {
                        dawdle();
                        if fails && superstep.get() >= 100 {
                            failed.fetch_add(1, SeqCst);
                            panic!("enough");
                        }
                        known.is_some_and(|known| s.1 < known.1).then_some(s)
                    },
                );
                (changed.clone(), changed)
            },
        );
        sorted(result.uid("components").collect()?)
    };
    let error = run(2, Restart::never(), true).unwrap_err().to_string();
    assert!(error.contains("enough"), "{error}");
    // Another life, with one worker more.
    let expected: Vec<(u64, u64)> = (0..300).map(|v| (v, 0)).collect();
    assert_eq!(run(3, Restart::never(), false)?, expected);
    Ok(())
}
