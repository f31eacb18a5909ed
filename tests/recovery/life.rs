//! A run of the job, from outside: process 0 and those that it starts.

use crate::program::{ORDERS, Orders};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than anything takes that is not stuck.
const STUCK: Duration = Duration::from_secs(120);
/// Between two looks at a process or a folder.
const LOOK: Duration = Duration::from_micros(500);

pub struct Life {
    first: Child,
    orders: Orders,
    /// Where all processes write their standard error.
    said: PathBuf,
    /// Closed when the last of its processes is gone: all have inherited the other end, as standard output.
    gone: Receiver<()>,
}

/// Resolves when the last process of a life is gone.
pub struct Gone(Receiver<()>);

impl Life {
    /// The `number`-th life of a job. Files cannot become longer than `limit` blocks of 512 bytes, if there is one: as on a
    /// full disk, writes beyond that fail.
    pub fn start(orders: &Orders, number: usize, limit: Option<u64>) -> Self {
        let said = orders.folder.join(format!("said-{number}"));
        for process in 0..2 {
            let _ = std::fs::remove_file(orders.id_file(process));
        }
        let program = std::env::current_exe().unwrap();
        let mut command = match limit {
            // An ignored signal stays ignored in the program, and writes give an error instead.
            Some(blocks) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks} && exec \"$0\" \"$@\"")]).arg(program);
                shell
            }
            None => Command::new(program),
        };
        command.args(["--exact", "program", "--nocapture", "--test-threads", "1"]);
        command.env(ORDERS, serde_json::to_string(orders).unwrap());
        let stderr = File::create(&said).unwrap();
        let mut first = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut stdout = first.stdout.take().unwrap();
        let (left, gone) = channel();
        std::thread::spawn(move || {
            let _ = stdout.read_to_end(&mut Vec::new());
            drop(left);
        });
        Self { first, orders: orders.clone(), said, gone }
    }

    /// Waits until something is so, at most for a time. Whether process 0 still runs then.
    pub fn until(&mut self, longest: Duration, is: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + longest;
        while self.first.try_wait().unwrap().is_none() {
            if is() || Instant::now() >= deadline {
                return true;
            }
            std::thread::sleep(LOOK);
        }
        false
    }

    /// Kills process 0.
    pub fn kill_first(&mut self) {
        self.first.kill().unwrap();
    }

    /// Kills process 1, if there is one by now. Whether there was.
    pub fn kill_other(&mut self) -> bool {
        let Ok(id) = std::fs::read_to_string(self.orders.id_file(1)) else { return false };
        // Nobody else has this id: process 0, which runs, has not asked how it ended, or it is it.
        Command::new("sh").args(["-c", &format!("kill -KILL {id} 2>/dev/null")]).status().unwrap().success()
    }

    /// How process 0 ends, by itself or because it was killed; and how the rest can be waited for.
    pub fn end(mut self) -> (ExitStatus, String, Gone) {
        if self.until(STUCK, || false) {
            let said = self.said();
            panic!("it does not end: {:?}\n{said}", self.orders);
        }
        let status = self.first.wait().unwrap();
        let said = self.said();
        let (_, none) = channel();
        (status, said, Gone(std::mem::replace(&mut self.gone, none)))
    }

    pub fn said(&self) -> String {
        std::fs::read(&self.said).map_or_else(|_| String::new(), |said| String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Life {
    /// Nothing stays behind where a test fails: the others end with the first.
    fn drop(&mut self) {
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

impl Gone {
    /// Waits until no process is left.
    pub fn wait(self) {
        let gone = self.0.recv_timeout(STUCK) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected);
        assert!(gone, "a process is left behind");
    }
}
