//! What all these tests need: the command as a process, data, folders.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub fn fluvial(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fluvial")).args(arguments).output().unwrap()
}

pub fn succeeds(arguments: &[&str]) -> String {
    let output = fluvial(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{arguments:?} is not quiet: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The one line with which a command fails, with exit code 1.
pub fn fails(arguments: &[&str]) -> String {
    let output = fluvial(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    let stderr = one_line(&output, 1);
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    stderr
}

/// The one line that a command that ended with this exit code wrote to standard error.
pub fn one_line(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

/// TPC-H at scale 0.01, made by the command itself, once.
pub fn data() -> &'static Path {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command-tpch");
        let _ = std::fs::remove_dir_all(&folder);
        succeeds(&["gen", "tpch", "--scale", "0.01", "--out", folder.to_str().unwrap()]);
        folder
    })
}

pub fn input(name: &str) -> String {
    data().join(format!("{name}.parquet")).to_str().unwrap().to_owned()
}

/// A folder of the test's own.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A command that is running.
pub struct Running(pub Child);

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_fluvial"));
        Self(command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until something can be seen of it.
    pub fn until(&mut self, seen: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !seen() {
            assert!(self.0.try_wait().unwrap().is_none(), "it ended too early: {:?}", self.0.try_wait());
            assert!(Instant::now() < deadline, "nothing is seen of it");
            std::thread::yield_now();
        }
    }

    /// Sends it a signal: `INT`, `TERM`, `KILL`.
    pub fn signal(&self, name: &str) {
        kill(name, self.0.id());
    }

    /// How it ends, and what it wrote to standard error, without its output being read.
    pub fn status(mut self) -> (ExitStatus, String) {
        // Held open: a pipe without a reader would end the command in another way.
        let _stdout = self.0.stdout.take();
        let status = self.0.wait().unwrap();
        let mut stderr = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status, stderr)
    }

    pub fn end(self) -> Output {
        self.0.wait_with_output().unwrap()
    }
}

pub fn kill(signal: &str, process: u32) {
    let sent: ExitStatus = Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status().unwrap();
    assert!(sent.success());
}
