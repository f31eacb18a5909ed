//! Positions of sources as sections of state. They belong to instances, not to key groups: at a restore every instance
//! is given those of all former ones and takes what is its own now.

use crate::codec::RecordCodec;
use crate::{Restored, Result, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The section's name.
const NAME: &str = "position";

/// A snapshot that consists of a position.
pub(crate) fn save<P: Serialize + DeserializeOwned>(position: &P) -> Result<Snapshot> {
    let section = RecordCodec::<P>::new().section(NAME, position)?;
    Ok(Snapshot { sections: vec![section], ..Snapshot::default() })
}

/// The positions of all former instances.
///
/// # Errors
/// [`Error::Plan`](crate::Error::Plan) if they are of another kind of source.
pub(crate) fn load<P: Serialize + DeserializeOwned>(state: &Restored) -> Result<Vec<P>> {
    let codec = RecordCodec::<P>::new();
    state.sections.iter().filter(|s| s.name == NAME).map(|section| codec.read_section(section)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::add_source;
    use super::*;
    use crate::chain::{BoxCollector, Context};
    use crate::{Checkpoints, Config, Env, Error, Mode, Output, Progress, Restart, Source};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::time::Duration;

    const NUMBERS: u64 = 40;

    /// Makes its share of the numbers. The first worker makes one, holds the others back until checkpoints have been taken and
    /// fails; what is left then is shared anew.
    struct Shares {
        left: Vec<u64>,
        worker: u64,
        snapshots: u64,
        failed: Arc<AtomicBool>,
        next: BoxCollector<u64>,
    }

    impl Source for Shares {
        fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
            let mut context = Context::new(out);
            let first = self.worker == 0 && !self.failed.load(SeqCst);
            if first && self.left.len() < NUMBERS as usize / 2 {
                if self.snapshots < 10 {
                    return Ok(Progress::Waiting);
                }
                self.failed.store(true, SeqCst);
                return Err(Error::User("bad luck".into()));
            }
            match self.left.pop() {
                Some(number) => {
                    self.next.push(number, &mut context);
                    self.next.end_batch(None, &mut context);
                    context.check()?;
                    Ok(Progress::More)
                }
                None => Ok(self.next.finish(&mut context)),
            }
        }

        fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
            self.snapshots += 1;
            save(&self.left)
        }

        fn restore(&mut self, state: Restored) -> Result<()> {
            let mut left = load::<Vec<u64>>(&state)?.concat();
            left.sort_unstable();
            self.left = left.into_iter().skip(self.worker as usize).step_by(2).collect();
            Ok(())
        }
    }

    /// The second worker has ended when the first one fails, and is given a part of what that has left.
    #[test]
    fn an_instance_that_had_ended_goes_on_where_the_rest_is_shared_anew() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::to_folder(folder.path().join("state")).every(Duration::from_millis(1));
        let restart = Restart::fixed_delay(3, Duration::ZERO);
        let config = Config { threads: 2, checkpoints: Some(checkpoints), restart, mode: Mode::Streaming, ..Config::default() };
        let env = Env::new(config);
        let failed = Arc::new(AtomicBool::new(false));
        let told = failed.clone();
        let numbers = add_source::<u64>(&env, "shares", String::new(), Some(NUMBERS), move |context, next| {
            let worker = context.worker as u64;
            let left = (worker..NUMBERS).step_by(2).collect();
            Ok(Box::new(Shares { left, worker, snapshots: 0, failed: told.clone(), next: next.into()? }))
        });
        numbers.map(|n| n.to_string()).write_files(folder.path().join("out")).text().transactional().add().unwrap();
        env.execute("shares").unwrap();
        assert!(failed.load(SeqCst));
        let files =
            std::fs::read_dir(folder.path().join("out")).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()));
        let text: String = files.map(std::result::Result::unwrap).collect();
        let mut seen: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..NUMBERS).collect::<Vec<_>>());
    }
}
