//! `fluvial nexmark`: the NEXMark queries as typed jobs.

use super::args::{Mode, Nexmark, Query};
use super::job::Job;
use crate::nexmark::{Event, EventRow, Generator, queries};
use fluvial_core::{Clock, Data, DataStream, Error, Interrupt, Result, Table};
use std::path::Path;
use std::time::Duration;

/// Runs one query.
pub fn run(args: Nexmark, interrupt: &Interrupt) -> Result<()> {
    let mode = match args.mode {
        Mode::Batch => fluvial_core::Mode::Batch,
        Mode::Streaming => fluvial_core::Mode::Streaming,
    };
    let job = Job::with(&args.common, interrupt, |config| {
        config.mode = mode;
        args.keeping.configure(config);
        if args.query == Query::Q12 {
            // A clock that stands still until the end, so that the answer does not depend on when the job runs.
            config.clock = Clock::manual(0);
        }
    })?;
    let disorder = Duration::from_millis(args.disorder);
    let generator = Generator::new(args.events).with_seed(args.seed).with_disorder(disorder);
    let source = job.env.generator(move |n| generator.event(n)).count(args.events);
    let events = match args.rate {
        Some(rate) => source.rate(rate).stream(),
        None => source.stream(),
    };
    let events = events.name("events");
    if args.keeping.checkpoints.is_some() {
        if args.out == "-" {
            return Err(Error::Plan("--checkpoints: results that are printed cannot be taken back; give --out a folder".into()));
        }
        commit_rows(args.query, &events, disorder, Path::new(&args.out))?;
        return job.run("nexmark");
    }
    let rows = rows(args.query, &events, disorder)?;
    match args.out.as_str() {
        // In an order that does not depend on who was first.
        "-" => {
            let columns: Vec<_> = rows.schema().fields().iter().map(|f| format!("\"{}\"", f.name())).collect();
            job.deliver("nexmark", &rows.sort(&columns.join(", "))?, "-")
        }
        file => job.deliver("nexmark", &rows, file),
    }
}

/// A query's rows as files of JSON lines, each of which appears when the checkpoint that covers it is complete.
fn commit_rows(query: Query, events: &DataStream<Event>, disorder: Duration, folder: &Path) -> Result<()> {
    fn commit<T: Data>(rows: &DataStream<T>, folder: &Path) -> Result<()> {
        rows.write_files(folder).transactional().add()
    }
    let timed = || events.assign_timestamps_and_watermarks(queries::watermarks(disorder));
    match query {
        Query::Q0 => commit(&queries::q0(events).map(|event| EventRow::from(&event)), folder),
        Query::Q1 => commit(&queries::q1(events), folder),
        Query::Q2 => commit(&queries::q2(events), folder),
        Query::Q3 => commit(&queries::q3(events), folder),
        Query::Q4 => commit(&queries::q4(&timed()), folder),
        Query::Q5 => commit(&queries::q5(&timed()), folder),
        Query::Q6 => commit(&queries::q6(&timed()), folder),
        Query::Q7 => commit(&queries::q7(&timed()), folder),
        Query::Q8 => commit(&queries::q8(&timed()), folder),
        Query::Q11 => commit(&queries::q11(&timed()), folder),
        Query::Q12 => commit(&queries::q12(events), folder),
    }
}

/// A query's rows as a table.
fn rows(query: Query, events: &DataStream<Event>, disorder: Duration) -> Result<Table> {
    let timed = || events.assign_timestamps_and_watermarks(queries::watermarks(disorder));
    match query {
        Query::Q0 => queries::q0(events).map(|event| EventRow::from(&event)).to_table(),
        Query::Q1 => queries::q1(events).to_table(),
        Query::Q2 => queries::q2(events).to_table(),
        Query::Q3 => queries::q3(events).to_table(),
        Query::Q4 => queries::q4(&timed()).to_table(),
        Query::Q5 => queries::q5(&timed()).to_table(),
        Query::Q6 => queries::q6(&timed()).to_table(),
        Query::Q7 => queries::q7(&timed()).to_table(),
        Query::Q8 => queries::q8(&timed()).to_table(),
        Query::Q11 => queries::q11(&timed()).to_table(),
        Query::Q12 => queries::q12(events).to_table(),
    }
}
