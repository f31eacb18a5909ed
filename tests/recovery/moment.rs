//! Moments to kill at.

use crate::life::Life;
use crate::output::checkpoints;
use crate::random::Random;
use std::path::Path;
use std::time::Duration;

/// Longest wait for what may not come, as the beginning of a checkpoint near the end of a job.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// While the job starts, or takes back its state.
    Restore,
    /// While a checkpoint is written: its folder is there, its manifest is not.
    Checkpoint,
    /// While sinks commit: the manifest has just been written.
    Commit,
    Any,
}

impl Moment {
    pub fn choose(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Restore,
            1 | 2 => Self::Checkpoint,
            3..=5 => Self::Commit,
            _ => Self::Any,
        }
    }

    /// Waits for it. Whether process 0 still runs then.
    pub fn wait(self, life: &mut Life, state: &Path, random: &mut Random) -> bool {
        let ms = |millis| Duration::from_millis(millis);
        let begun = checkpoints(state);
        let known = |name: &str, complete: bool| begun.iter().any(|c| c.name == name && (c.complete || !complete));
        // So many checkpoints go by before.
        let lets = random.below(4) as usize;
        match self {
            Self::Restore => life.until(random.within(ms(250)), || false),
            Self::Checkpoint => {
                let new = || checkpoints(state).iter().filter(|c| !known(&c.name, false)).count();
                life.until(PATIENCE, || new() > lets) && life.until(random.within(ms(8)), || false)
            }
            Self::Commit => {
                let new = || checkpoints(state).iter().filter(|c| c.complete && !known(&c.name, true)).count();
                life.until(PATIENCE, || new() > lets.min(2)) && life.until(random.within(ms(8)), || false)
            }
            Self::Any => life.until(random.within(ms(1_500)), || false),
        }
    }
}
