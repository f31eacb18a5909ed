//! The TPC-H tables, generated in parallel by the `tpchgen` crates: data to try things on.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fluvial_core::{Env, Error, Result, Table};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator, RegionGenerator,
    SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

/// The eight tables, smallest first.
pub const TABLES: [&str; 8] = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

/// Rows of a part: about what a row group holds.
const PART_ROWS: f64 = 150_000.0;
const BATCH_ROWS: usize = 4096;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>>>;

/// A table's schema, its rows at scale 1, and what makes one part of it at a scale: part (from 1) of parts.
type Recipe = (SchemaRef, f64, fn(f64, i32, i32) -> Batches);

/// A TPC-H table at a scale factor (1 is about 6 million line items, 1 GB as text).
///
/// # Errors
/// [`Error::Plan`] if there is no such table or the scale is not positive.
pub fn table(env: &Env, name: &str, scale: f64) -> Result<Table> {
    if !(scale > 0.0 && scale <= 100_000.0) {
        return Err(Error::Plan(format!("scale: {scale} given, expected more than 0 and at most 100000")));
    }
    macro_rules! table {
        ($arrow:ident, $generator:ident, $rows:expr) => {
            ($arrow::schema_ref(), $rows, |scale: f64, part: i32, parts: i32| -> Batches {
                let batches = $arrow::new($generator::new(scale, part, parts)).with_batch_size(BATCH_ROWS);
                Box::new(batches.map(|batch| Ok(batch?)))
            })
        };
    }
    let (schema, rows, make): Recipe = match name {
        "region" => table!(RegionArrow, RegionGenerator, 0.0),
        "nation" => table!(NationArrow, NationGenerator, 0.0),
        "supplier" => table!(SupplierArrow, SupplierGenerator, 10_000.0),
        "customer" => table!(CustomerArrow, CustomerGenerator, 150_000.0),
        "part" => table!(PartArrow, PartGenerator, 200_000.0),
        "partsupp" => table!(PartSuppArrow, PartSuppGenerator, 800_000.0),
        "orders" => table!(OrderArrow, OrderGenerator, 1_500_000.0),
        "lineitem" => table!(LineItemArrow, LineItemGenerator, 6_000_000.0),
        other => return Err(Error::Plan(format!("there is no TPC-H table `{other}`; there are {}", TABLES.join(", ")))),
    };
    let parts = (rows * scale / PART_ROWS).ceil().max(1.0) as i32;
    Ok(env.table_from_parts(schema, parts as usize, move |part| Ok(make(scale, part as i32 + 1, parts))).name(name))
}
