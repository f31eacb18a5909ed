use super::place::{FolderPlace, ObjectPlace, Place, parse};
use crate::runtime::BarrierPolicy;
use crate::{Error, Result};
use object_store::ObjectStore;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often and where the jobs of an environment keep their state, and what they begin with: part of a
/// [`Config`](crate::Config).
///
/// A job whose state is kept continues after a failure as if there had been none: sources go back to their positions, state
/// and timers to what they were, and sinks that commit show every result once. That holds for streaming jobs, bounded or not;
/// a batch job begins anew.
///
/// ```
/// use fluvial_core::*;
/// use std::time::Duration;
///
/// let folder = tempfile::tempdir()?;
/// let checkpoints = Checkpoints::to_folder(folder.path()).every(Duration::from_millis(50)).keep(3);
/// let config = Config { checkpoints: Some(checkpoints), mode: Mode::Streaming, ..Config::default() };
/// let env = Env::new(config);
/// env.sequence(0..1000).key_by(|n| n % 7).rolling_reduce(|a, b| a + b).for_each(|_| ());
/// let report = env.execute("sums")?;
/// assert!(report.checkpoints.completed >= 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Checkpoints {
    place: PlaceSetting,
    interval: Duration,
    pause: Duration,
    timeout: Duration,
    keep: usize,
    tolerated: usize,
    exactly_once: bool,
    from: RestoreFrom,
    allow_removed_state: bool,
    stop_at_damage: bool,
}

#[derive(Clone)]
enum PlaceSetting {
    Text(String),
    Folder(PathBuf),
    Store(Arc<dyn ObjectStore>, String),
}

/// What a job begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RestoreFrom {
    /// Nothing. An error where there are checkpoints already: they would be mixed up with those of this job.
    #[default]
    Nothing,
    /// The last complete checkpoint; an error if there is none.
    Latest,
    /// The last complete checkpoint, or nothing if there is none: what a program that is started again whenever it ends says.
    LatestIfAny,
    /// This checkpoint or savepoint: its folder, or a URL.
    At(String),
}

impl RestoreFrom {
    /// Reads what `--from` is given: `latest`, `auto` (the latest, if any), or a checkpoint.
    pub fn parse(text: &str) -> Self {
        match text {
            "latest" => Self::Latest,
            "auto" => Self::LatestIfAny,
            at => Self::At(at.to_owned()),
        }
    }
}

impl Checkpoints {
    fn new(place: PlaceSetting) -> Self {
        Self {
            place,
            interval: Duration::from_secs(10),
            pause: Duration::ZERO,
            timeout: Duration::from_secs(600),
            keep: 2,
            tolerated: usize::MAX,
            exactly_once: true,
            from: RestoreFrom::default(),
            allow_removed_state: false,
            stop_at_damage: false,
        }
    }

    /// In a folder that all processes see. It belongs to one job.
    pub fn to_folder(path: impl AsRef<Path>) -> Self {
        Self::new(PlaceSetting::Folder(path.as_ref().to_owned()))
    }

    /// Below a prefix of an object store.
    pub fn to_store(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self::new(PlaceSetting::Store(store, prefix.to_owned()))
    }

    /// At a URL such as `s3://bucket/prefix`, with credentials from the environment, or in a folder. The clients for the
    /// clouds come with features of this crate: `aws`, `gcp`, `azure`, `http`.
    pub fn to_url(url: &str) -> Self {
        Self::new(PlaceSetting::Text(url.to_owned()))
    }

    /// From the beginning of one checkpoint to that of the next. Default: 10 s.
    #[must_use]
    pub fn every(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// From the end of one checkpoint to the beginning of the next, at least. Default: none.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// A checkpoint that takes longer is dropped and counted as failed. Default: 10 minutes.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How many complete checkpoints are kept, at least 1; older ones are removed. Default: 2, so that there is another one
    /// if the last is damaged.
    #[must_use]
    pub fn keep(self, keep: usize) -> Self {
        Self { keep: keep.max(1), ..self }
    }

    /// How many checkpoints in a row may fail before the job does. Default: any number.
    #[must_use]
    pub fn tolerate(self, failures: usize) -> Self {
        Self { tolerated: failures, ..self }
    }

    /// Batches behind a barrier do not wait for it: nothing stands still where inputs are of different speed, and what came
    /// after a barrier on the faster one may be counted again after a restart.
    #[must_use]
    pub fn at_least_once(self) -> Self {
        Self { exactly_once: false, ..self }
    }

    /// What the job begins with. Default: nothing.
    #[must_use]
    pub fn from(self, from: RestoreFrom) -> Self {
        Self { from, ..self }
    }

    /// State of operators that the job does not have any more is left behind; it is an error otherwise.
    #[must_use]
    pub fn allow_removed_state(self) -> Self {
        Self { allow_removed_state: true, ..self }
    }

    /// A damaged checkpoint is an error. Otherwise the one before it is taken, with a warning.
    #[must_use]
    pub fn stop_at_damage(self) -> Self {
        Self { stop_at_damage: true, ..self }
    }

    pub(crate) fn place(&self) -> Result<Arc<dyn Place>> {
        match &self.place {
            PlaceSetting::Text(text) => parse(text),
            PlaceSetting::Folder(path) => Ok(Arc::new(FolderPlace::new(path.clone()))),
            PlaceSetting::Store(store, prefix) => {
                Ok(Arc::new(ObjectPlace::new(store.clone(), object_store::path::Path::from(prefix.as_str()))))
            }
        }
    }

    pub(crate) fn policy(&self) -> BarrierPolicy {
        BarrierPolicy { interval: Some(self.interval), pause: self.pause, timeout: self.timeout, tolerated: self.tolerated }
    }

    pub(crate) fn kept(&self) -> usize {
        self.keep
    }

    pub(crate) fn is_exactly_once(&self) -> bool {
        self.exactly_once
    }

    pub(crate) fn restores_from(&self) -> &RestoreFrom {
        &self.from
    }

    pub(crate) fn allows_removed_state(&self) -> bool {
        self.allow_removed_state
    }

    pub(crate) fn stops_at_damage(&self) -> bool {
        self.stop_at_damage
    }

    /// # Errors
    /// [`Error::Plan`] that names the setting, what it is and what it may be.
    pub(crate) fn check(&self) -> Result<()> {
        if self.interval.is_zero() {
            return Err(Error::Plan("checkpoints every 0 s: expected more than that".into()));
        }
        if self.timeout.is_zero() {
            return Err(Error::Plan("checkpoints with a timeout of 0 s: none could be complete in time".into()));
        }
        if let PlaceSetting::Text(text) = &self.place {
            parse(text)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            PlaceSetting::Text(text) => text.clone(),
            PlaceSetting::Folder(path) => path.display().to_string(),
            PlaceSetting::Store(store, prefix) => format!("{store}/{prefix}"),
        };
        f.debug_struct("Checkpoints").field("place", &place).field("interval", &self.interval).finish_non_exhaustive()
    }
}
