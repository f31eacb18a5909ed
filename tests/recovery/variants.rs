//! The job under torture, in several ways.

use crate::life::Life;
use crate::output::{difference, lines, missing};
use crate::program::{Guarantee, Job, Orders};
use crate::torture::Torture;
use std::sync::OnceLock;

/// Two seconds of an undisturbed run.
const RECORDS: u64 = 20_000;

const TORTURE: Torture = Torture::of("killed", Job::Everything { records: RECORDS }, RECORDS as f64 / 2.0);

/// What a run gives that nobody disturbs.
fn undisturbed() -> &'static [String] {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    LINES.get_or_init(|| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let job = Job::Everything { records: RECORDS };
        let folder_path = folder.path().to_owned();
        let orders = Orders { job, folder: folder_path, processes: 1, threads: 2, checkpoints: None, rate: None, disk: false };
        let (status, said, gone) = Life::start(&orders, 0, None).end();
        assert!(status.success(), "{said}");
        gone.wait();
        let lines = lines(&orders.out());
        for kind in ["tumbling", "sliding", "session", "total", "pair", "asked/tumbling", "asked/single"] {
            assert!(lines.iter().filter(|line| line.starts_with(kind)).count() > 100, "hardly any {kind}");
        }
        lines
    })
}

fn is_equal(orders: &Orders) -> Option<String> {
    difference(&lines(&orders.out()), undisturbed())
}

#[test]
fn killed_jobs_lose_nothing_and_double_nothing() {
    TORTURE.go_on(20, is_equal);
}

#[test]
fn killed_jobs_with_state_on_disk_lose_nothing_and_double_nothing() {
    Torture { name: "on disk", disk: (1, 1), ..TORTURE }.go_on(20, is_equal);
}

#[test]
fn lives_may_keep_their_state_elsewhere() {
    Torture { name: "on disk or not", disk: (1, 2), damage: true, ..TORTURE }.go_on(12, is_equal);
}

#[test]
fn a_full_disk_changes_nothing() {
    Torture { name: "full disk", full: true, ..TORTURE }.go_on(12, is_equal);
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    Torture { name: "damaged", damage: true, ..TORTURE }.go_on(12, is_equal);
}

#[test]
fn at_least_once_loses_nothing() {
    let torture = Torture { name: "at least once", guarantee: Guarantee::AtLeastOnce, ..TORTURE };
    torture.go_on(12, |orders| missing(&lines(&orders.out()), undisturbed()));
}
