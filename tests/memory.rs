//! The promise of `--memory`: resident memory (`VmHWM`) stays within it plus 96 MiB, whatever the data is. Measured of the command as
//! a process of its own, by what its `--stats` say.
//!
//! A small measurement is always made. The whole one takes many minutes and tens of gigabytes of disk, so it runs on demand, with a
//! folder that holds TPC-H's `lineitem.parquet` and `orders.parquet` (any scale; the tables are given repeatedly until there is ten
//! times the budget):
//!
//!     FLUVIAL_MEMORY=FOLDER cargo test --release --test memory -- --nocapture
//!
//! `FLUVIAL_MEMORY_BUDGETS=64,1024` narrows it to these budgets, in MiB. Everything it writes goes below the system's temporary
//! folder (`TMPDIR`).

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// What may come on top of the budget, in bytes.
const OVERHEAD: u64 = 96 << 20;
const MIB: u64 = 1 << 20;
const WORKERS: &str = "2";

/// Values that do not compress: numbers, decimals and short texts in turns.
struct Columns {
    count: usize,
    state: u64,
}

impl Columns {
    fn new(count: usize) -> Self {
        Self { count, state: 1 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 20
    }

    fn batch(&mut self, rows: usize) -> RecordBatch {
        let columns = (0..self.count).map(|column| -> (String, ArrayRef) {
            let values: Vec<u64> = (0..rows).map(|_| self.next()).collect();
            let values: ArrayRef = match column % 3 {
                0 => Arc::new(values.iter().map(|v| *v as i64).collect::<Int64Array>()),
                1 => Arc::new(values.iter().map(|v| *v as f64).collect::<Float64Array>()),
                _ => Arc::new(values.iter().map(|v| Some(format!("{:08x}", v & 0xffff_ffff))).collect::<StringArray>()),
            };
            (format!("c{column}"), values)
        });
        let columns: Vec<_> = columns.collect();
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// Writes a Parquet file of about `bytes`, in row groups of about `group` bytes.
    fn write(mut self, path: &Path, bytes: usize, group: usize) -> PathBuf {
        let first = self.batch(0);
        let row = self.count * 8;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(group / row))
            .build();
        let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), first.schema(), Some(properties)).unwrap();
        let mut left = bytes / row;
        while left > 0 {
            let rows = left.min((1 << 20) / row);
            writer.write(&self.batch(rows)).unwrap();
            left -= rows;
        }
        writer.close().unwrap();
        path.to_owned()
    }
}

/// Bytes of a Parquet file's values as they are encoded, before compression.
fn encoded_bytes(path: &Path) -> u64 {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    reader.metadata().row_groups().iter().map(|group| group.total_byte_size() as u64).sum()
}

/// A folder in which a file is there so often that it holds at least `bytes`.
fn repeated(file: &Path, bytes: u64, folder: &Path) -> (PathBuf, u64) {
    let size = encoded_bytes(file);
    let times = bytes.div_ceil(size).max(1);
    std::fs::create_dir(folder).unwrap();
    for copy in 0..times {
        symlink(file.canonicalize().unwrap(), folder.join(format!("{copy:04}.parquet"))).unwrap();
    }
    (folder.to_owned(), times * size)
}

/// Runs the command under a budget, in bytes; returns what is wrong with the memory it took.
fn measure(name: &str, arguments: &[&str], budget: u64, input_bytes: u64, folder: &Path) -> Option<String> {
    let (out, spill, stats) = (folder.join("out.parquet"), folder.join("spill"), folder.join("stats.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_fluvial"));
    command.args(arguments).args(["--memory", &budget.to_string(), "--threads", WORKERS]);
    command.arg("--out").arg(&out).arg("--spill-dir").arg(&spill).arg("--stats").arg(&stats);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&stats).unwrap()).unwrap();
    let number = |field: &str| report[field].as_u64().unwrap();
    std::fs::remove_file(out).unwrap();
    let (peak, pool) = (number("peak_resident"), number("pool_peak"));
    let line = format!(
        "{name}: {} MiB resident under {} MiB ({:+} MiB; pool {} MiB), {:.1} s, {} MiB read, {} MiB spilled, {WORKERS} workers, {} cores",
        peak / MIB,
        budget / MIB,
        peak as i64 / MIB as i64 - (budget / MIB) as i64,
        pool / MIB,
        report["seconds"].as_f64().unwrap(),
        input_bytes / MIB,
        number("spilled_bytes") / MIB,
        std::thread::available_parallelism().map_or(0, usize::from),
    );
    eprintln!("{line}");
    assert!(peak > 0 && pool <= budget, "{line}");
    (peak > budget + OVERHEAD).then_some(line)
}

#[test]
fn wide_tables_stay_within_the_budget() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bytes = 100 << 20;
    let wide = Columns::new(200).write(&folder.path().join("wide.parquet"), bytes, 64 << 20);
    let wide = wide.to_str().unwrap();
    let run = |name: &str, arguments: &[&str]| measure(name, arguments, 64 * MIB, bytes as u64, folder.path());
    let half = (0..100).map(|c| format!("c{}", 2 * c)).collect::<Vec<_>>().join(", ");
    let most = (1..100).map(|c| format!("max(c{c}) as m{c}")).collect::<Vec<_>>().join(", ");
    let beyond: Vec<String> = [
        run("sort, 200 columns", &["sort", wide, "--by", "c0"]),
        run("join, 200 columns", &["join", wide, wide, "--on", "c0 = c0", "--select", &half]),
        run("aggregate, 200 columns", &["aggregate", wide, "--by", "c0", "--agg", &most]),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(beyond.is_empty(), "more than {} MiB over the budget:\n{}", OVERHEAD / MIB, beyond.join("\n"));
}

#[test]
fn data_of_ten_times_the_budget_stays_within_it() {
    let Some(tables) = std::env::var_os("FLUVIAL_MEMORY").map(PathBuf::from) else { return };
    let budgets = std::env::var("FLUVIAL_MEMORY_BUDGETS").unwrap_or_else(|_| "64,128,256,512,1024".into());
    let budgets: Vec<u64> = budgets.split(',').map(|b| b.trim().parse::<u64>().unwrap() * MIB).collect();
    let place = tempfile::tempdir().unwrap();
    let (items, orders) = (tables.join("lineitem.parquet"), tables.join("orders.parquet"));
    let orders = orders.to_str().unwrap();
    let wide = Columns::new(200).write(&place.path().join("wide.parquet"), 640 << 20, 128 << 20);
    let groups = Columns::new(12).write(&place.path().join("groups.parquet"), 640 << 20, 128 << 20);
    let mut beyond = Vec::new();
    for budget in budgets {
        let folder = tempfile::tempdir_in(place.path()).unwrap();
        let input = |file: &Path, name: &str| repeated(file, 10 * budget, &folder.path().join(name));
        let (items, item_bytes) = input(&items, "items");
        let (wide, wide_bytes) = input(&wide, "wide");
        let (groups, group_bytes) = input(&groups, "groups");
        let [items, wide, groups] = [&items, &wide, &groups].map(|path| path.to_str().unwrap());
        let mut run = |name: &str, arguments: &[&str], bytes: u64| {
            beyond.extend(measure(name, arguments, budget, bytes, folder.path()));
        };
        run("sort", &["sort", items, "--by", "l_shipdate, l_orderkey, l_linenumber"], item_bytes);
        let joined = "sum(l_quantity) as q, max(l_comment) as l, max(o_comment) as o, count(*) as n";
        run("join", &["join", items, orders, "--on", "l_orderkey = o_orderkey", "--agg", joined], item_bytes);
        let sums = "sum(l_quantity) as q, max(l_comment) as l, count(*) as n";
        run("aggregate", &["aggregate", items, "--by", "l_orderkey, l_partkey", "--agg", sums], item_bytes);
        run("sort, 200 columns", &["sort", wide, "--by", "c0"], wide_bytes);
        run("sort, row groups of 128 MiB", &["sort", groups, "--by", "c2, c0"], group_bytes);
    }
    assert!(beyond.is_empty(), "more than {} MiB over the budget:\n{}", OVERHEAD / MIB, beyond.join("\n"));
}
