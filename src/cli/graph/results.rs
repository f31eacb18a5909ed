use crate::cli::job::Job;
use arrow::array::AsArray;
use fluvial_core::{Data, DataStream, Result, Spool, Table};
use fluvial_iterate::graph::VertexId;
use fluvial_iterate::graph::files::to_lines;
use fluvial_memory::{Descending, NormalizedKey};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::str::FromStr;

/// What ids are here: they can be read and sorted.
pub trait Id: VertexId + NormalizedKey + FromStr {}
impl<I: VertexId + NormalizedKey + FromStr> Id for I {}

/// Vertices and their values, in the order in which they are given.
pub struct Results {
    table: Table,
}

impl Results {
    /// All of them by vertex, or the largest values.
    pub fn new<I: Id, V: Data + NormalizedKey>(values: &DataStream<(I, V)>, top: Option<u64>) -> Result<Self> {
        let ordered = match top {
            Some(count) => values.top_by(count, |(vertex, value)| (Descending(value.clone()), vertex.clone())),
            // They come in the order of the vertices.
            None => values.clone(),
        };
        Ok(Self { table: ordered.to_table()?.select("column_1 as vertex, column_2 as value")? })
    }

    /// As [`Results::new`], where the largest are to be among those that are reached.
    pub fn of_reached<I: Id, V: Data + NormalizedKey>(
        values: &DataStream<(I, V)>,
        top: Option<u64>,
        reached: impl Fn(&V) -> bool + Clone + Send + Sync + 'static,
    ) -> Result<Self> {
        match top {
            Some(_) => Self::new(&values.filter(move |(_, value)| reached(value)), top),
            None => Self::new(values, None),
        }
    }

    /// Runs the job: writes a file, or prints lines for `-`.
    pub fn deliver(&self, job: Job, name: &str, out: &str) -> Result<()> {
        let name = format!("graph {name}");
        let text = out == "-" || Path::new(out).extension().is_some_and(|e| e.eq_ignore_ascii_case("txt"));
        let table = if text { to_lines(&self.table)? } else { self.table.clone() };
        job.deliver_as(&name, &table, out, print)
    }
}

/// Prints the lines, for as long as somebody reads them.
fn print(lines: Spool) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for batch in lines {
        for line in batch?.column(0).as_string::<i32>().iter().flatten() {
            if !crate::cli::output::written(writeln!(out, "{line}"))? {
                return Ok(());
            }
        }
    }
    crate::cli::output::written(out.flush()).map(drop)
}
