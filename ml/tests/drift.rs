//! What is to be learned changes on the way: abruptly, gradually, again and again. 200,000 records of servers each time.

use fluvial_core::{Config, Env};
use fluvial_ml::{
    Block, DealInOrder, Drift, DualSvm, DualSvmParams, LearnOnline, Model, OnlineOptions, Predictor, ServerStatistics, Sgd,
    SgdParams, Together, WindowReport, fit,
};
use std::ops::Range;
use std::sync::Arc;

const RECORDS: u64 = 200_000;
/// Records of a window of all workers together.
const WINDOW: u64 = 500;
const WIDTH: usize = ServerStatistics::FEATURES;

type Row = ([f64; WIDTH], f64);

/// A stream and what is known of it.
struct Scenario {
    data: Block,
    rows: Arc<Vec<Row>>,
    /// Learned from the first 20,000 records, and never again.
    frozen: Model,
}

impl Scenario {
    fn new(drift: Drift) -> Self {
        let data = ServerStatistics::new(5, drift).block(0..RECORDS).unwrap();
        let row = |i: usize| {
            let mut features = [0.0; WIDTH];
            data.rows.row(i).write_to(&mut features);
            (features, data.label(i))
        };
        let rows = Arc::new((0..data.len()).map(row).collect());
        let batch = DualSvm::new(DualSvmParams { c: 0.1, ..DualSvmParams::default() }).unwrap();
        let frozen = fit(&batch, &[data.slice(0, 20_000)]).unwrap();
        Self { data, rows, frozen }
    }

    /// Share of records of a range that the frozen model has right.
    fn frozen(&self, records: Range<u64>) -> f64 {
        let count = (records.end - records.start) as f64;
        let right = |i: &u64| {
            let i = *i as usize;
            (self.frozen.predict(self.data.rows.row(i)).value > 0.0) == (self.data.label(i) > 0.0)
        };
        records.filter(right).count() as f64 / count
    }

    /// Windows of an online learner on so many workers, each record predicted before it was learned.
    fn online(&self, workers: u64) -> Vec<WindowReport> {
        let env = Env::new(Config { threads: workers as usize, ..Config::default() });
        let options = OnlineOptions { window: WINDOW / workers, ..OnlineOptions::default() };
        let rows = self.rows.clone();
        let records = env.generator(move |n| (n, rows[n as usize])).count(RECORDS).stream();
        // Dealt out and merged by number: the same in every run.
        let records = records.deal_in_order(|record| record.0).map(|record| record.1);
        // Where learners are averaged a record counts for one in so many workers: the rate makes up for it.
        let rate = SgdParams::svm().rate * workers as f64;
        let make = move |width| Sgd::new(width, SgdParams { rate, ..SgdParams::svm() });
        let learned = match workers {
            1 => records.learn(make, options),
            _ => records.learn_together(make, options, Together { every: 128, lag: Some(0), ..Together::default() }),
        };
        let mut parts = learned.evaluations.collect().unwrap();
        let mut whole = parts.pop().unwrap();
        parts.iter().for_each(|part| whole.merge(part));
        let windows = whole.prequential.unwrap().windows().to_vec();
        assert_eq!(windows.iter().map(|w| w.records).sum::<u64>(), RECORDS);
        windows
    }
}

/// Share of right predictions of these records.
fn accuracy(windows: &[WindowReport], records: Range<u64>) -> f64 {
    let windows = &windows[(records.start / WINDOW) as usize..(records.end / WINDOW) as usize];
    windows.iter().map(|w| w.confusion.accuracy()).sum::<f64>() / windows.len() as f64
}

/// 1, 2 and 4 workers, which agree within a point.
fn on_workers(scenario: &Scenario) -> [Vec<WindowReport>; 3] {
    let all = [1, 2, 4].map(|workers| scenario.online(workers));
    let accuracies = all.each_ref().map(|windows| accuracy(windows, 0..RECORDS));
    let (least, most) = accuracies.iter().fold((1.0f64, 0.0f64), |(least, most), a| (least.min(*a), most.max(*a)));
    assert!(most - least < 0.01, "{accuracies:?}");
    all
}

#[test]
fn abrupt() {
    let at = 100_000;
    let scenario = Scenario::new(Drift::Abrupt { at });
    let (before, recovered) = (at - 50_000..at, at + 500..at + 1500);
    let frozen = [before.clone(), recovered.clone(), at + 500..RECORDS].map(|records| scenario.frozen(records));
    assert!(frozen[1] < 0.9 * frozen[0] && frozen[2] < 0.9 * frozen[0], "the frozen model does not follow: {frozen:?}");
    for windows in on_workers(&scenario) {
        let [before, recovered, rest] =
            [before.clone(), recovered.clone(), at + 500..RECORDS].map(|records| accuracy(&windows, records));
        assert!(recovered >= 0.95 * before && rest >= 0.98 * before, "{before}, {recovered}, {rest}; frozen {frozen:?}");
    }
}

#[test]
fn gradual() {
    let (at, over) = (80_000, 40_000);
    let scenario = Scenario::new(Drift::Gradual { at, over });
    let ranges = [40_000..at, at + over + 500..at + over + 1500, at + over..RECORDS];
    let frozen = ranges.clone().map(|records| scenario.frozen(records));
    assert!(frozen[1] < 0.9 * frozen[0] && frozen[2] < 0.9 * frozen[0], "{frozen:?}");
    for windows in on_workers(&scenario) {
        let [before, after, rest] = ranges.clone().map(|records| accuracy(&windows, records));
        assert!(after >= 0.95 * before && rest >= 0.98 * before, "{before}, {after}, {rest}; frozen {frozen:?}");
    }
}

#[test]
fn recurring() {
    let every = 40_000;
    let scenario = Scenario::new(Drift::Recurring { every });
    let frozen = [scenario.frozen(20_000..every), scenario.frozen(every + 500..2 * every)];
    assert!(frozen[1] < 0.9 * frozen[0], "{frozen:?}");
    for windows in on_workers(&scenario) {
        let before = accuracy(&windows, 20_000..every);
        for change in (every..RECORDS).step_by(every as usize) {
            let after = accuracy(&windows, change + 500..change + 1500);
            assert!(after >= 0.95 * before, "after record {change}: {before}, {after}");
        }
    }
}

#[test]
fn none() {
    let scenario = Scenario::new(Drift::None);
    let frozen = scenario.frozen(20_000..RECORDS);
    for windows in on_workers(&scenario) {
        let online = accuracy(&windows, 20_000..RECORDS);
        assert!((online - frozen).abs() <= 0.005, "without drift online and batch agree: {online}, {frozen}");
    }
}
