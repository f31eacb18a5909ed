//! Iterations over two processes: both get the results that one process alone gets.

use crate::delta::{connected, random_edges};
use crate::kit::{components, sorted};
use fluvial_core::{Config, Env, Result};
use fluvial_iterate::{Feedback, Iterate};
use std::net::TcpListener;

fn addresses(count: usize) -> Vec<String> {
    // Held until all are taken, so that they differ.
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect()
}

/// Runs a job in two processes' worth of environments.
pub fn in_two_processes(job: impl Fn(&Env) -> Result<()> + Sync) {
    let hosts = addresses(2);
    let run = |process: usize| -> Result<()> {
        let env = Env::new(Config { threads: 2, hosts: hosts.clone(), process, ..Config::default() });
        job(&env)?;
        env.close();
        Ok(())
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..2)
            .map(|process| {
                scope.spawn({
                    let run = &run;
                    move || run(process)
                })
            })
            .collect();
        all.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
}

#[test]
fn two_processes_iterate_together() {
    in_two_processes(|env| {
        let edges = random_edges(1000, 900, 3);
        let expected = components(1000, edges.clone());
        assert_eq!(sorted(connected(env, 1000, edges, u64::MAX).collect()?)?, expected);
        let steps = env.sequence(0..300).map(|n| (n, (n * 5 + 2) % 300));
        let result = env.sequence(0..300).map(|n| (n, n)).iterate(6, |partial, it| {
            let total = it.sum::<u64>("total");
            it.converge(&total, |total| *total == 0);
            partial.key_by(|r| r.1).join(&steps.key_by(|s| s.0)).inner(|r, s| (r.0, s.1)).inspect(move |r| total.add(r.1))
        });
        let turn = |n: u64| (0..6).fold(n, |at, _| (at * 5 + 2) % 300);
        assert_eq!(sorted(result.collect()?)?, (0..300).map(|n| (n, turn(n))).collect::<Vec<_>>());
        let halved = env
            .sequence(1..=500)
            .feedback(|numbers| (numbers.filter(|n| n % 2 == 0).map(|n| n / 2).rebalance(), numbers.filter(|n| n % 2 == 1)));
        let mut expected: Vec<u64> = (1..=500u64).map(|n| n >> n.trailing_zeros()).collect();
        expected.sort_unstable();
        assert_eq!(sorted(halved.collect()?)?, expected);
        Ok(())
    });
}
