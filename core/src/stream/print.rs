use super::{Data, DataStream};
use crate::graph::{Body, Distribution, OperatorFactory};
use crate::io::print::{PrintTarget, Printer, standard_output};
use crate::{Batch, Error, Operator, Output, Progress, Result};
use std::any::Any;
use std::fmt::Debug;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::Arc;

impl<T: Data + Debug> DataStream<T> {
    /// Adds a sink that prints the records on the standard output of the first process, a line each: strings as they are,
    /// anything else as `Debug` shows it. Where the stream is ordered (behind a sort) the lines are too. In a job with
    /// checkpoints lines may come more than once.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// env.sequence(1..=3).map(|n| (n, n * n)).sort_by(|square| square.0).print();
    /// env.sequence(1..=3).sort_by(|n| *n).map(|n| format!("{n} squared is {}", n * n)).print();
    /// env.execute("squares")?; // (1, 1), (2, 4), (3, 9); 1 squared is 1, ..
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn print(&self) {
        self.print_to(standard_output());
    }

    pub(crate) fn print_to(&self, target: PrintTarget) {
        let config = self.env.config();
        let folder = config.spill_dir.clone();
        let make: OperatorFactory = Arc::new(move |context| {
            let printer = context.shared(|| Printer::new(&target, &folder, context.local_workers));
            Ok(Box::new(PrintLines { printer, text: Vec::new(), record: PhantomData::<fn(T)> }))
        });
        let mut node = self.after("print", String::new(), Body::Operator(make));
        node.outputs = 0;
        node.inputs[0].distribution = Distribution::to_first_process(config);
        self.env.add_sink(node);
    }
}

/// Prints a record a line.
struct PrintLines<T> {
    printer: Arc<Printer>,
    text: Vec<u8>,
    record: PhantomData<fn(T)>,
}

impl<T: Data + Debug> Operator for PrintLines<T> {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        let position = batch.position;
        let records = batch.typed_records::<T>()?;
        self.text.clear();
        records.iter().try_for_each(|r| line(&mut self.text, r)).map_err(|e| Error::User(format!("a record to print: {e}")))?;
        self.printer.print(position, &self.text)?;
        Ok(Progress::Done)
    }

    fn finish(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        self.printer.close()?;
        Ok(Progress::Done)
    }
}

fn line<T: Debug + 'static>(text: &mut Vec<u8>, record: &T) -> io::Result<()> {
    match (record as &dyn Any).downcast_ref::<String>() {
        Some(string) => writeln!(text, "{string}"),
        None => writeln!(text, "{record:?}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::io::print::testing::Shown;
    use crate::{Config, Env};
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Person {
        name: String,
        age: u8,
    }

    #[test]
    fn records_are_lines_and_strings_are_as_they_are() {
        let env = Env::default();
        let (people, words) = (Shown::default(), Shown::default());
        let ada = env.from_collection([Person { name: "Ada".into(), age: 36 }]);
        ada.print_to(people.target());
        ada.map(|p| format!("{} is \"{}\"", p.name, p.age)).print_to(words.target());
        assert_eq!(people.text(), "");
        env.execute("print").unwrap();
        assert_eq!(people.text(), "Person { name: \"Ada\", age: 36 }\n");
        assert_eq!(words.text(), "Ada is \"36\"\n");
    }

    #[test]
    fn lines_behind_a_sort_are_in_order_also_over_many_ranges() {
        let count = 400_000u64;
        for threads in [1, 3] {
            let env = Env::new(Config { threads, memory: 8 << 20, ..Config::default() });
            let shown = Shown::default();
            let shuffled =
                env.sequence(0..count).map(move |n| (n * 7919 % count, "so that there are several ranges".to_string()));
            shuffled.sort_by(|r| r.0).filter(|r| r.0 % 3 != 1).map(|r| r.0.to_string()).print_to(shown.target());
            env.execute("print").unwrap();
            let lines: Vec<u64> = shown.text().lines().map(|l| l.parse().unwrap()).collect();
            assert!(lines.iter().copied().eq((0..count).filter(|n| n % 3 != 1)));
        }
    }

    #[test]
    fn nothing_prints_nothing() {
        let env = Env::default();
        let shown = Shown::default();
        env.sequence(0..10).filter(|n| *n > 10).print_to(shown.target());
        env.execute("print").unwrap();
        assert_eq!(shown.text(), "");
    }

    #[test]
    fn of_several_processes_the_first_prints() {
        let count = 20_000u64;
        let listeners: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let hosts: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        drop(listeners);
        let shown = [(); 2].map(|()| [Shown::default(), Shown::default()]);
        std::thread::scope(|scope| {
            for (process, [sorted, some]) in shown.iter().enumerate() {
                let config = Config { threads: 2, memory: 16 << 20, hosts: hosts.clone(), process, ..Config::default() };
                scope.spawn(move || {
                    let env = Env::new(config);
                    env.sequence(0..count).sort_by(|n| *n).map(|n| n.to_string()).print_to(sorted.target());
                    env.sequence(0..count).filter(|n| n % 1000 == 0).print_to(some.target());
                    env.execute("print").unwrap();
                });
            }
        });
        let lines = |shown: &Shown| shown.text().lines().map(|l| l.parse().unwrap()).collect::<Vec<u64>>();
        let [[sorted, some], others] = shown;
        assert!(lines(&sorted).into_iter().eq(0..count));
        let mut some = lines(&some);
        some.sort_unstable();
        assert!(some.into_iter().eq((0..count).step_by(1000)));
        assert!(others.iter().all(|shown| shown.text().is_empty()));
    }
}
