use fluvial_core::Data;
use fluvial_memory::NormalizedKey;
use std::fmt::Display;
use std::hash::Hash;

/// What names a vertex: `u64` or `String`.
///
/// Inside, vertices are numbered densely in the order of their ids, so that smaller ids are smaller numbers; results come back
/// in the user's ids, sorted.
pub trait VertexId: Data + Ord + Hash + Display + NormalizedKey + sealed::Ids {}

impl VertexId for u64 {}
impl VertexId for String {}

pub(crate) mod sealed {
    use super::super::columns::{integers, texts, weights};
    use super::super::engine::dictionary::{Dictionary, Interner};
    use super::super::engine::kernel::Weights;
    use super::super::engine::raw::Intake;
    use arrow_array::RecordBatch;
    use fluvial_core::{Batch, Error, Records, Result};
    use std::fmt::Display;

    /// How ids of a type come in and go out.
    pub trait Ids: Sized {
        /// Whether they are texts, which are interned.
        const TEXT: bool;

        fn take_edges(batch: Batch, intake: &mut Intake, interner: &Interner, rule: Weights) -> Result<()>;
        fn take_vertices(batch: Batch, intake: &mut Intake, interner: &Interner) -> Result<()>;
        fn column(table: &RecordBatch, column: usize) -> Result<Vec<Self>>;
        fn name(dictionary: &Dictionary, rank: u32) -> Self;
        fn find(&self, dictionary: &Dictionary) -> Option<u32>;
    }

    /// # Errors
    /// A weight is not a length.
    fn check(rule: Weights, source: &dyn Display, target: &dyn Display, weight: f64) -> Result<()> {
        if rule == Weights::Lengths && (weight.is_nan() || weight < 0.0) {
            return Err(Error::User(format!(
                "the edge from {source} to {target} has the weight {weight}: shortest paths need weights that are not negative"
            )));
        }
        Ok(())
    }

    impl Ids for u64 {
        const TEXT: bool = false;

        fn take_edges(batch: Batch, intake: &mut Intake, _interner: &Interner, rule: Weights) -> Result<()> {
            if let Records::Table(table) = &batch.records {
                let (sources, targets) = (integers(table, 0)?, integers(table, 1)?);
                if rule == Weights::Ignored {
                    return intake.edges(table.num_rows(), |i| (sources[i], targets[i], 0.0));
                }
                let weights = weights(table, 2)?;
                for (i, weight) in weights.iter().enumerate() {
                    check(rule, &sources[i], &targets[i], *weight)?;
                }
                return intake.edges(table.num_rows(), |i| (sources[i], targets[i], weights[i]));
            }
            match batch.into_typed::<(u64, u64)>() {
                Ok(edges) => intake.edges(edges.len(), |i| (edges[i].0, edges[i].1, 0.0)),
                Err(batch) => {
                    let edges = batch.typed_records::<(u64, u64, f64)>()?;
                    for (source, target, weight) in &edges {
                        check(rule, source, target, *weight)?;
                    }
                    intake.edges(edges.len(), |i| edges[i])
                }
            }
        }

        fn take_vertices(batch: Batch, intake: &mut Intake, _interner: &Interner) -> Result<()> {
            if let Records::Table(table) = &batch.records {
                let ids = integers(table, 0)?;
                return intake.vertices(table.num_rows(), |i| ids[i]);
            }
            let ids = batch.typed_records::<u64>()?;
            intake.vertices(ids.len(), |i| ids[i])
        }

        fn column(table: &RecordBatch, column: usize) -> Result<Vec<Self>> {
            Ok(integers(table, column)?.into_owned())
        }

        fn name(dictionary: &Dictionary, rank: u32) -> Self {
            dictionary.number(rank)
        }

        fn find(&self, dictionary: &Dictionary) -> Option<u32> {
            dictionary.find_number(*self)
        }
    }

    impl Ids for String {
        const TEXT: bool = true;

        fn take_edges(batch: Batch, intake: &mut Intake, interner: &Interner, rule: Weights) -> Result<()> {
            let number = |text: &str| interner.number(text).map(u64::from);
            let mut edges = Vec::with_capacity(batch.len());
            if let Records::Table(table) = &batch.records {
                let (sources, targets) = (texts(table, 0)?, texts(table, 1)?);
                let weights = if rule == Weights::Ignored { Vec::new() } else { weights(table, 2)?.into_owned() };
                for row in 0..table.num_rows() {
                    let weight = weights.get(row).copied().unwrap_or(0.0);
                    check(rule, &sources.value(row), &targets.value(row), weight)?;
                    edges.push((number(sources.value(row))?, number(targets.value(row))?, weight));
                }
            } else {
                match batch.into_typed::<(String, String)>() {
                    Ok(typed) => {
                        for (source, target) in &typed {
                            edges.push((number(source)?, number(target)?, 0.0));
                        }
                    }
                    Err(batch) => {
                        for (source, target, weight) in &batch.typed_records::<(String, String, f64)>()? {
                            check(rule, source, target, *weight)?;
                            edges.push((number(source)?, number(target)?, *weight));
                        }
                    }
                }
            }
            intake.edges(edges.len(), |i| edges[i])
        }

        fn take_vertices(batch: Batch, _intake: &mut Intake, interner: &Interner) -> Result<()> {
            if let Records::Table(table) = &batch.records {
                let ids = texts(table, 0)?;
                return (0..table.num_rows()).try_for_each(|row| interner.number(ids.value(row)).map(drop));
            }
            batch.typed_records::<String>()?.iter().try_for_each(|id| interner.number(id).map(drop))
        }

        fn column(table: &RecordBatch, column: usize) -> Result<Vec<Self>> {
            Ok(texts(table, column)?.iter().flatten().map(str::to_owned).collect())
        }

        fn name(dictionary: &Dictionary, rank: u32) -> Self {
            dictionary.text(rank).to_owned()
        }

        fn find(&self, dictionary: &Dictionary) -> Option<u32> {
            dictionary.find_text(self)
        }
    }
}
