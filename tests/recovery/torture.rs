//! Lives of one job, one after the other.

use crate::life::{Gone, Life};
use crate::moment::Moment;
use crate::output::{checkpoints, files, left_behind};
use crate::program::{Guarantee, Job, Orders};
use crate::random::Random;
use std::fs::OpenOptions;
use std::time::{Duration, Instant};

/// What a job has to go through.
#[derive(Clone, Copy, Debug)]
pub struct Torture {
    pub name: &'static str,
    pub job: Job,
    pub guarantee: Guarantee,
    /// Records a second, so that there is time to kill.
    pub rate: f64,
    /// Least and most processes, and workers of each: every life has other numbers of them.
    pub processes: (usize, usize),
    pub threads: (usize, usize),
    /// Between lives the last checkpoint is damaged, now and then, if there is another one.
    pub damage: bool,
    /// Which lives keep their state on disk: none, some, all.
    pub disk: (u64, u64),
    /// Some lives find the disk full.
    pub full: bool,
    /// Most kills of one job before it may end.
    pub kills: usize,
}

impl Torture {
    /// Exactly once, by one or two processes of one to three workers; nothing happens but kills.
    pub const fn of(name: &'static str, job: Job, rate: f64) -> Self {
        Self {
            name,
            job,
            guarantee: Guarantee::ExactlyOnce,
            rate,
            processes: (1, 2),
            threads: (1, 3),
            damage: false,
            disk: (0, 1),
            full: false,
            kills: 12,
        }
    }
}

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    until: Instant,
    kills: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    jobs: usize,
    lives: usize,
    kills: usize,
    damaged: usize,
    full: usize,
}

/// A number from the environment.
fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap_or_else(|_| panic!("{name}: `{number}` is not a number")))
}

impl Torture {
    /// Jobs after jobs, for so many seconds unless the environment says otherwise. `check` says what is wrong with what one
    /// has committed.
    pub fn go_on(&self, seconds: u64, check: impl Fn(&Orders) -> Option<String>) {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
        let seed = told("FLUVIAL_RECOVERY_SEED").unwrap_or(clock % 1_000_000);
        let seconds = Duration::from_secs(told("FLUVIAL_RECOVERY_SECONDS").unwrap_or(seconds));
        let budget = Budget { until: Instant::now() + seconds, kills: told("FLUVIAL_RECOVERY_KILLS").unwrap_or(0) as usize };
        let mut tally = Tally::default();
        let mut random = Random::new(seed);
        let told = format!("{}, FLUVIAL_RECOVERY_SEED={seed}", self.name);
        while tally.jobs == 0 || Instant::now() < budget.until || tally.kills < budget.kills {
            if let Err(problem) = self.one_job(&mut random, &mut tally, &check) {
                panic!("{told}, {tally:?}: {problem}");
            }
        }
        eprintln!("{told}: {tally:?}");
    }

    /// One job from its beginning to its end.
    fn one_job(&self, random: &mut Random, tally: &mut Tally, check: &impl Fn(&Orders) -> Option<String>) -> Result<(), String> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        tally.jobs += 1;
        let mut left = Vec::new();
        let most = 1 + random.below(self.kills as u64) as usize;
        let mut history = Vec::new();
        let mut kills = 0;
        // Whether a life has ended of which no checkpoint knows: what it has left hidden stays.
        let mut unknown = false;
        loop {
            let orders = Orders {
                job: self.job,
                folder: folder.path().to_owned(),
                processes: random.among(self.processes),
                threads: random.among(self.threads),
                checkpoints: Some(self.guarantee),
                rate: Some(self.rate),
                disk: random.below(self.disk.1) < self.disk.0,
            };
            let full = self.full && kills < most && random.one_in(2);
            let limit = full.then(|| random.below(24));
            let moment = (kills < most).then(|| Moment::choose(random));
            tally.lives += 1;
            tally.full += usize::from(full);
            let (done, killed) = match self.one_life(&orders, limit, moment, random, (&mut left, &mut history)) {
                Ok(outcome) => outcome,
                Err(problem) => return Err(keep(folder, &history, problem)),
            };
            kills += usize::from(killed);
            tally.kills += usize::from(killed);
            if done {
                left.into_iter().for_each(Gone::wait);
                let left_behind = || left_behind(&orders.out()).filter(|_| !unknown);
                let problem = check(&orders).or_else(left_behind);
                return problem.map_or(Ok(()), |problem| Err(keep(folder, &history, problem)));
            }
            unknown |= !checkpoints(&orders.state()).iter().any(|c| c.complete);
            if self.damage && random.one_in(3) && damage(&orders, random, &mut history) {
                tally.damaged += 1;
            }
        }
    }

    /// Whether the job is done, and whether something was killed.
    fn one_life(
        &self,
        orders: &Orders,
        limit: Option<u64>,
        moment: Option<Moment>,
        random: &mut Random,
        (left, history): (&mut Vec<Gone>, &mut Vec<String>),
    ) -> Result<(bool, bool), String> {
        let mut life = Life::start(orders, left.len(), limit);
        let mut killed = false;
        let mut line = format!("{} x {}", orders.processes, orders.threads);
        if orders.disk {
            line += ", on disk";
        }
        if let Some(limit) = limit {
            line += &format!(", full at {limit} blocks");
        }
        if let Some(moment) = moment
            && moment.wait(&mut life, &orders.state(), random)
        {
            killed = true;
            let victim = if orders.processes == 1 { 0 } else { random.below(4) };
            match victim {
                2 => killed = life.kill_other(),
                3 => {
                    life.kill_other();
                    life.kill_first();
                }
                _ => life.kill_first(),
            }
            line += &format!(", killed {victim} at {moment:?}");
        }
        let (status, said, gone) = life.end();
        left.push(gone);
        line += &format!(": {status}, has {:?}", checkpoints(&orders.state()).last().map(|c| (c.name.clone(), c.complete)));
        history.push(line);
        let why = |what: &str| Err(format!("{what}: {said}"));
        if said.contains("panicked") {
            return why("a panic");
        }
        if !status.success() && !killed && limit.is_none() {
            return why("it has failed, although nothing was done to it");
        }
        Ok((status.success(), killed))
    }
}

/// Truncates a file of the last complete checkpoint if there is another one. Not of one that says that the job had ended: what
/// is committed then is not taken back any more. Whether it did.
fn damage(orders: &Orders, random: &mut Random, history: &mut Vec<String>) -> bool {
    let mut complete = checkpoints(&orders.state());
    complete.retain(|c| c.complete);
    let [.., _, last] = complete.as_slice() else { return false };
    let folder = orders.state().join(&last.name);
    let ended = std::fs::read_to_string(folder.join("manifest")).is_ok_and(|manifest| manifest.contains("\"last\": true"));
    if ended {
        return false;
    }
    let mut files = files(&folder);
    files.sort();
    let file = &files[random.below(files.len() as u64) as usize];
    let len = std::fs::metadata(file).unwrap().len();
    let len = if len == 0 { return false } else { random.below(len) };
    OpenOptions::new().write(true).open(file).unwrap().set_len(len).unwrap();
    history.push(format!("truncated {} to {len} bytes", file.display()));
    true
}

/// Keeps the folder of a job that has gone wrong, to look at.
fn keep(folder: tempfile::TempDir, history: &[String], problem: String) -> String {
    format!("{problem}\nits lives: {history:#?}\nits files are kept in {}", folder.keep().display())
}
