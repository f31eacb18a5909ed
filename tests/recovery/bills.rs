//! The golden numbers of `billing`: what customers owe is what they are to be billed, whatever happens.

use crate::billing::{Bill, CUSTOMERS, FOLDERS, KINDS, MONTHS, event, total};
use crate::life::Life;
use crate::output::lines;
use crate::program::{Job, Orders};
use crate::torture::Torture;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const EVENTS: u64 = CUSTOMERS * MONTHS * 30;

fn read(folder: &Path) -> Vec<Bill> {
    lines(folder).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn invoices() -> Vec<Bill> {
    let bill = |of, month| Bill { of, month, amount: total(of, month) };
    (0..CUSTOMERS).flat_map(|of| (0..MONTHS).map(move |month| bill(of, month))).collect()
}

/// By kind and month. Six of the thirty events of a customer are of each kind; the first has what cannot be divided.
fn kinds() -> BTreeMap<(u64, u64), u64> {
    let of = |kind, month| {
        let part = move |customer| total(customer, month) / 30 * 6 + if kind == 0 { total(customer, month) % 30 } else { 0 };
        ((kind, month), (0..CUSTOMERS).map(part).sum())
    };
    (0..KINDS).flat_map(|kind| (0..MONTHS).map(move |month| of(kind, month))).collect()
}

/// The last preview of each, which is the largest; there must be one with each event.
fn last(previews: Vec<Bill>) -> BTreeMap<(u64, u64), u64> {
    assert_eq!(previews.len() as u64, EVENTS);
    let mut last = BTreeMap::new();
    previews.into_iter().for_each(|bill| {
        let most = last.entry((bill.of, bill.month)).or_default();
        *most = bill.amount.max(*most);
    });
    last
}

fn wrong(orders: &Orders) -> Option<String> {
    let [invoiced, by_customer, by_kind] = FOLDERS.map(|folder| read(&orders.out().join(folder)));
    let mut sorted = invoiced;
    sorted.sort();
    if sorted != invoices() {
        return Some(format!("invoices are {sorted:?}, expected {:?}", invoices()));
    }
    let customers: BTreeMap<(u64, u64), u64> = invoices().into_iter().map(|b| ((b.of, b.month), b.amount)).collect();
    let (by_customer, by_kind) = (last(by_customer), last(by_kind));
    if by_customer != customers {
        return Some(format!("the last previews are {by_customer:?}, expected {customers:?}"));
    }
    (by_kind != kinds()).then(|| format!("the last previews by kind are {by_kind:?}, expected {:?}", kinds()))
}

#[test]
fn the_events_come_in_disorder() {
    const DAY: i64 = 24 * 3_600_000;
    let mut latest = 0;
    let mut behind: Vec<i64> = Vec::new();
    for n in 0..EVENTS {
        let time = event(n).time;
        latest = latest.max(time);
        behind.push(latest - time);
    }
    let times: BTreeSet<(i64, u64)> = (0..EVENTS).map(|n| (event(n).time, event(n).customer)).collect();
    assert_eq!(times.len() as u64, EVENTS, "each event comes once");
    let late = behind.iter().filter(|behind| **behind > DAY / 2).count();
    assert_eq!(late as u64, 5 * (MONTHS - 1));
    assert!(behind.iter().all(|behind| *behind < 3 * DAY));
    let swapped = behind.iter().filter(|behind| (1..=DAY / 2).contains(*behind)).count() as u64;
    assert!(swapped >= EVENTS / 20, "{swapped} of {EVENTS} come after a later one");
}

#[test]
fn bills_are_exact() {
    for (processes, threads) in [(1, 1), (1, 3), (2, 2)] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let folder = folder.path().to_owned();
        let orders = Orders { job: Job::Billing, folder, processes, threads, checkpoints: None, rate: None, disk: false };
        let (status, said, gone) = Life::start(&orders, 0, None).end();
        assert!(status.success(), "{said}");
        gone.wait();
        assert_eq!(wrong(&orders), None, "{processes} processes, {threads} workers");
    }
}

#[test]
fn bills_are_exact_whoever_is_killed() {
    Torture::of("billing", Job::Billing, EVENTS as f64 / 2.0).go_on(12, wrong);
}
