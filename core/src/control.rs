//! The control socket of a running job: who may write to its folder of checkpoints can ask it for savepoints.
//!
//! A Unix socket in a folder of its own, whose path is in the file `control` beside the checkpoints: paths of sockets must be
//! short, and those of folders need not be. One line of JSON a question, one line an answer.

use crate::io::file_error;
use crate::{AfterSavepoint, Env, Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

/// The file, beside the checkpoints, with the socket's path.
const CONTROL: &str = "control";
/// Begins the name of a socket's folder.
const FOLDER: &str = "fluvial-control-";
/// How long a question may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the longest question.
const LONGEST: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Savepoint { to: String, then: AfterSavepoint },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done,
    Failed(String),
}

/// Listens until it is dropped.
pub(crate) struct ControlSocket {
    note: PathBuf,
    socket: PathBuf,
    _folder: TempDir,
    over: Arc<AtomicBool>,
    answering: Arc<Answering>,
    thread: Option<JoinHandle<()>>,
}

/// How many questions are being answered.
#[derive(Default)]
struct Answering {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Answering {
    fn count(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// One of them.
struct Answered<'a>(&'a Answering);

impl<'a> Answered<'a> {
    fn begin(answering: &'a Answering) -> Self {
        *answering.count() += 1;
        Self(answering)
    }
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        *self.0.count() -= 1;
        self.0.changed.notify_all();
    }
}

impl ControlSocket {
    /// For the jobs of `env`, whose checkpoints are in `folder`.
    ///
    /// # Errors
    /// The socket cannot be made, or its path not be written down.
    pub(crate) fn open(folder: &Path, env: Env) -> Result<Self> {
        let cannot = |error: io::Error| file_error(folder, format!("no control socket: {error}"));
        fs::create_dir_all(folder).map_err(|e| file_error(folder, e))?;
        // Nobody else can look into it.
        let own = tempfile::Builder::new().prefix(FOLDER).tempdir().map_err(cannot)?;
        let socket = own.path().join("socket");
        let listener = UnixListener::bind(&socket).map_err(cannot)?;
        let note = folder.join(CONTROL);
        forget_dead(&note);
        fs::write(&note, socket.display().to_string()).map_err(|e| file_error(&note, e))?;
        let over = Arc::new(AtomicBool::new(false));
        let answering: Arc<Answering> = Arc::default();
        let (seen, asked) = (over.clone(), answering.clone());
        let listen = move || {
            for connection in listener.incoming() {
                if seen.load(SeqCst) {
                    return;
                }
                let (env, asked) = (env.clone(), asked.clone());
                // Whoever waits for a savepoint is not in the way of others. One that gets no thread is told by the end of
                // its connection.
                let _ = connection.and_then(|connection| {
                    thread::Builder::new().name("control".into()).spawn(move || drop(answer(connection, &env, &asked)))
                });
            }
        };
        let thread = thread::Builder::new().name("control".into()).spawn(listen).map_err(cannot)?;
        Ok(Self { note, socket, _folder: own, over, answering, thread: Some(thread) })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let _ = fs::remove_file(&self.note);
        // The job is over, so each of them has its answer; the process must not end before it is given.
        let mut count = self.answering.count();
        while *count > 0 {
            count = self.answering.changed.wait(count).unwrap_or_else(|e| e.into_inner());
        }
        drop(count);
        // So that the thread looks.
        if UnixStream::connect(&self.socket).is_ok() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

/// Removes the socket of a job that was killed.
fn forget_dead(note: &Path) {
    let Ok(former) = fs::read_to_string(note) else { return };
    let socket = Path::new(former.trim());
    let folder = socket.parent().filter(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(FOLDER)));
    if let Some(folder) = folder.filter(|_| UnixStream::connect(socket).is_err()) {
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_file(socket).and_then(|()| fs::remove_dir(folder));
    }
}

fn answer(mut connection: UnixStream, env: &Env, answering: &Answering) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&mut connection).take(LONGEST)).read_line(&mut line)?;
    let _answered = Answered::begin(answering);
    let answer = match serde_json::from_str(&line) {
        Ok(Question::Savepoint { to, then }) => match env.savepoint(&to, then) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(error.to_string()),
        },
        Err(error) => Answer::Failed(format!("no question that a job understands: {error}")),
    };
    let line = serde_json::to_string(&answer)?;
    writeln!(connection, "{line}")
}

/// Asks the job that keeps its checkpoints in `folder` for a savepoint, and waits until it is complete. From another process
/// than the job's: within it there is [`Env::savepoint`].
///
/// # Errors
/// No job is running there; what [`Env::savepoint`] says.
pub fn request_savepoint(folder: impl AsRef<Path>, to: &str, then: AfterSavepoint) -> Result<()> {
    let folder = folder.as_ref();
    let nobody = |what: String| Err(file_error(folder, format!("no job keeps its checkpoints here at present: {what}")));
    let note = folder.join(CONTROL);
    let socket = match fs::read_to_string(&note) {
        Ok(path) => PathBuf::from(path.trim()),
        Err(error) => return nobody(format!("{CONTROL}: {error}")),
    };
    let mut connection = match UnixStream::connect(&socket) {
        Ok(connection) => connection,
        // One that was killed has left its note behind.
        Err(error) => return nobody(format!("{}: {error}", socket.display())),
    };
    let lost = |error: io::Error| Error::Connection { address: socket.display().to_string(), message: error.to_string() };
    let question = Question::Savepoint { to: to.to_owned(), then };
    let line = serde_json::to_string(&question).unwrap_or_else(|e| unreachable!("text serializes: {e}"));
    writeln!(connection, "{line}").map_err(lost)?;
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line).map_err(lost)?;
    match serde_json::from_str(&line) {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Failed(problem)) => Err(Error::Checkpoint(problem)),
        Err(_) => Err(Error::Checkpoint(format!("savepoint {to}: the job ended before it was complete"))),
    }
}
