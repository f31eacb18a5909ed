//! Text on an output that only goes forward, from several workers.
//!
//! Lines have to come out in their order, and a worker may be far ahead of another. What is next is written at once;
//! what is early waits in a file without a name, so that nothing waits and nothing is held in memory. The trade-off:
//! early text is written twice.

use super::file_error;
use crate::{Position, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Opens the output when a job starts.
pub(crate) type PrintTarget = Arc<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>;

/// The standard output of the process.
pub(crate) fn standard_output() -> PrintTarget {
    Arc::new(|| Box::new(stdout()))
}

/// Text of the workers of a process on its way to one output.
///
/// The batches of a range come from one worker, in order; so text of the range whose turn it is can be written as it
/// comes.
pub(crate) struct Printer {
    state: Mutex<State>,
    /// Where early text waits.
    folder: PathBuf,
}

struct State {
    out: Box<dyn Write + Send>,
    /// Workers that may still print.
    workers: usize,
    /// The range whose turn it is.
    turn: u64,
    /// Pieces of ranges whose turn has not come, by range and arrival.
    early: BTreeMap<(u64, u64), Piece>,
    arrivals: u64,
    /// Holds the early pieces; made when there is one.
    waiting: Option<File>,
    /// Bytes in it.
    waiting_bytes: u64,
    /// The reader of the output is gone.
    unread: bool,
}

/// Bytes of the file of early text.
struct Piece {
    start: u64,
    length: u64,
    /// Whether its range ends with it.
    last: bool,
}

impl Printer {
    pub(crate) fn new(target: &PrintTarget, folder: &Path, workers: usize) -> Self {
        let state = State {
            out: target(),
            workers,
            turn: 0,
            early: BTreeMap::new(),
            arrivals: 0,
            waiting: None,
            waiting_bytes: 0,
            unread: false,
        };
        Self { state: Mutex::new(state), folder: folder.to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes text that stands at a position, if it has one, or keeps it until its turn.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if the output or the file of early text cannot be written.
    pub(crate) fn print(&self, position: Option<Position>, text: &[u8]) -> Result<()> {
        let mut state = self.lock();
        match position {
            Some(position) if position.range > state.turn => {
                state.keep(position, text, &self.folder).map_err(|e| file_error(&self.folder, e))
            }
            _ => {
                state.write(text)?;
                state.flush()?;
                match position {
                    Some(position) if position.last && position.range == state.turn => state.advance(),
                    _ => Ok(()),
                }
            }
        }
    }

    /// A worker has nothing more to print; the last one leaves nothing waiting.
    ///
    /// # Errors
    /// As [`Printer::print`].
    pub(crate) fn close(&self) -> Result<()> {
        let mut state = self.lock();
        state.workers -= 1;
        if state.workers > 0 {
            return Ok(());
        }
        while let Some((_, piece)) = state.early.pop_first() {
            state.release(&piece)?;
        }
        state.flush()
    }
}

impl State {
    fn keep(&mut self, position: Position, text: &[u8], folder: &Path) -> io::Result<()> {
        if self.waiting.is_none() {
            self.waiting = Some(tempfile::tempfile_in(folder)?);
        }
        let piece = Piece { start: self.waiting_bytes, length: text.len() as u64, last: position.last };
        if let Some(file) = &mut self.waiting {
            file.seek(SeekFrom::Start(piece.start))?;
            file.write_all(text)?;
        }
        self.waiting_bytes += piece.length;
        self.arrivals += 1;
        self.early.insert((position.range, self.arrivals), piece);
        Ok(())
    }

    /// The range whose turn it was has ended.
    fn advance(&mut self) -> Result<()> {
        self.turn += 1;
        while let Some(first) = self.early.first_entry().filter(|e| e.key().0 <= self.turn) {
            let piece = first.remove();
            self.release(&piece)?;
            self.turn += u64::from(piece.last);
        }
        Ok(())
    }

    /// Writes what waited.
    fn release(&mut self, piece: &Piece) -> Result<()> {
        let (Some(file), false) = (&mut self.waiting, self.unread) else { return Ok(()) };
        let copied = file
            .seek(SeekFrom::Start(piece.start))
            .and_then(|_| io::copy(&mut file.take(piece.length), &mut self.out))
            .map(|_| ());
        self.written(copied)
    }

    fn write(&mut self, text: &[u8]) -> Result<()> {
        if self.unread {
            return Ok(());
        }
        let written = self.out.write_all(text);
        self.written(written)
    }

    /// What has been written is seen, however long the next line takes to come.
    fn flush(&mut self) -> Result<()> {
        if self.unread {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.written(flushed)
    }

    /// Who closes the output early (`| head`) has seen enough: that is not an error of the job.
    fn written(&mut self, result: io::Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.unread = true;
                Ok(())
            }
            other => other.map_err(|e| file_error(Path::new("standard output"), e)),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An output whose text a test can look at.
    #[derive(Clone, Default)]
    pub(crate) struct Shown(Arc<Mutex<Vec<u8>>>);

    impl Shown {
        pub(crate) fn target(&self) -> PrintTarget {
            let shown = self.clone();
            Arc::new(move || Box::new(shown.clone()))
        }

        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Shown;
    use super::*;
    use proptest::prelude::*;

    fn at(range: u64, sequence: u64, last: bool) -> Option<Position> {
        Some(Position { range, sequence, last })
    }

    #[test]
    fn what_is_next_is_written_at_once_and_what_is_early_waits() {
        let shown = Shown::default();
        let printer = Printer::new(&shown.target(), &std::env::temp_dir(), 1);
        printer.print(at(1, 0, false), b"c").unwrap();
        printer.print(at(0, 0, false), b"a").unwrap();
        assert_eq!(shown.text(), "a");
        printer.print(at(2, 0, true), b"e").unwrap();
        printer.print(at(0, 1, true), b"b").unwrap();
        assert_eq!(shown.text(), "abc");
        printer.print(at(1, 1, true), b"d").unwrap();
        assert_eq!(shown.text(), "abcde");
        // Text without a position, and a range whose end never came.
        printer.print(None, b"f").unwrap();
        printer.print(at(9, 0, false), b"g").unwrap();
        printer.close().unwrap();
        assert_eq!(shown.text(), "abcdefg");
    }

    #[test]
    fn lines_are_seen_before_the_job_ends() {
        let shown = Shown::default();
        let inner = shown.target();
        let buffered: PrintTarget = Arc::new(move || Box::new(io::BufWriter::new(inner())));
        let printer = Printer::new(&buffered, &std::env::temp_dir(), 1);
        printer.print(None, b"now\n").unwrap();
        assert_eq!(shown.text(), "now\n");
    }

    #[test]
    fn an_output_that_nobody_reads_any_more_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let closed: PrintTarget = Arc::new(|| Box::new(Closed));
        let printer = Printer::new(&closed, &std::env::temp_dir(), 1);
        printer.print(None, b"a").unwrap();
        printer.close().unwrap();
    }

    proptest! {
        #[test]
        fn ranges_come_out_in_order_however_workers_interleave(
            lengths in prop::collection::vec(1u64..4, 1..8),
            turns in prop::collection::vec(0usize..8, 0..64),
        ) {
            let shown = Shown::default();
            let printer = Printer::new(&shown.target(), &std::env::temp_dir(), 1);
            let mut sent = vec![0; lengths.len()];
            let rest = (0..lengths.len()).flat_map(|range| std::iter::repeat_n(range, 4));
            for range in turns.into_iter().map(|t| t % lengths.len()).chain(rest) {
                let sequence = sent[range];
                if sequence < lengths[range] {
                    let text = format!("{range}.{sequence} ");
                    printer.print(at(range as u64, sequence, sequence + 1 == lengths[range]), text.as_bytes()).unwrap();
                    sent[range] += 1;
                }
            }
            printer.close().unwrap();
            let expected = lengths.iter().enumerate().flat_map(|(r, n)| (0..*n).map(move |s| format!("{r}.{s} ")));
            prop_assert_eq!(shown.text(), expected.collect::<String>());
        }
    }
}
