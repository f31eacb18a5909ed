//! A disk that fills up, under spill files and under the output: one line that names the file, and nothing is left.

use crate::kit::{folder, input, names, one_line};
use std::path::Path;
use std::process::{Command, Output};

/// The command with a limit on the size of files, which needs no privileges: a write beyond it fails.
fn limited(blocks: usize, arguments: &[&str]) -> Output {
    let script = format!("ulimit -f {blocks} && exec \"$0\" \"$@\"");
    Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_fluvial")]).args(arguments).output().unwrap()
}

struct Places {
    _folder: tempfile::TempDir,
    out: String,
    spill: String,
}

impl Places {
    fn new(out: &str) -> Self {
        let folder = folder();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (results, spill) = (at("results"), at("spill"));
        std::fs::create_dir(&results).unwrap();
        std::fs::create_dir(&spill).unwrap();
        Self { out: format!("{results}/{out}"), spill, _folder: folder }
    }

    fn assert_nothing_left(&self) {
        for folder in [Path::new(&self.out).parent().unwrap(), Path::new(&self.spill)] {
            assert!(names(folder).is_empty(), "{:?}", names(folder));
        }
    }
}

#[test]
fn a_spill_file_that_cannot_grow_fails_the_job() {
    let items = input("lineitem");
    let aggregates = "max(l_comment) as a, max(lineitem.l_comment) as b";
    let commands: [&[&str]; 4] = [
        &["sort", &items, "--by", "l_comment"],
        &["sort", &items, "--by", "l_comment", "--processes", "2"],
        &["join", &items, &items, "--on", "l_orderkey = l_orderkey", "--agg", aggregates],
        &["aggregate", &items, "--by", "l_comment, l_orderkey, l_shipinstruct, l_partkey", "--agg", "count(*) as n"],
    ];
    for command in commands {
        let places = Places::new("out.parquet");
        let flags = ["--memory", "4MiB", "--threads", "1", "--out", &places.out, "--spill-dir", &places.spill];
        let error = one_line(&limited(40, &[command, &flags].concat()), 1);
        assert!(error.contains(&format!("spill file `{}/", places.spill)), "{command:?}: {error}");
        assert!(error.contains("write failed: File too large"), "{error}");
        places.assert_nothing_left();
    }
}

#[test]
fn an_output_that_cannot_grow_fails_the_job() {
    for name in ["out.parquet", "out.csv", "out.jsonl"] {
        let places = Places::new(name);
        let arguments = ["sort", &input("lineitem"), "--by", "l_comment", "--memory", "256MiB"];
        let flags = ["--out", &places.out, "--spill-dir", &places.spill];
        let error = one_line(&limited(1000, &[&arguments[..], &flags].concat()), 1);
        assert!(error.contains(&format!("{}: File too large", places.out)), "{error}");
        places.assert_nothing_left();
    }
}

#[test]
fn a_printed_result_that_cannot_be_kept_fails_the_job() {
    let places = Places::new("none");
    let arguments = ["sort", &input("lineitem"), "--by", "l_comment", "--memory", "256MiB", "--out", "-"];
    let output = limited(1000, &[&arguments[..], &["--spill-dir", &places.spill]].concat());
    let error = one_line(&output, 1);
    assert!(error.contains(&places.spill) && error.contains("File too large"), "{error}");
    assert!(output.stdout.is_empty());
    places.assert_nothing_left();
}

/// A file system of two megabytes, where whoever runs the tests may mount one.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount() -> Option<Self> {
        let folder = folder();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "fluvial-test"]).arg(folder.path()).output();
        mounted.is_ok_and(|o| o.status.success()).then(|| Self(folder))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_file_system_fails_the_job() {
    let Some(tiny) = Tiny::mount() else { return eprintln!("no right to mount a file system: not tested") };
    let full = tiny.0.path().to_str().unwrap();
    let places = Places::new("out.csv");
    let sort = |memory: &str, out: &str, spill: &str| {
        let by = ["--by", "l_comment", "--memory", memory, "--threads", "2"];
        let command = &mut Command::new(env!("CARGO_BIN_EXE_fluvial"));
        let output = command.args(["sort", &input("lineitem")]).args(by).args(["--out", out, "--spill-dir", spill]).output();
        one_line(&output.unwrap(), 1)
    };
    let error = sort("4MiB", &places.out, full);
    assert!(error.contains(&format!("spill file `{full}/")) && error.contains("No space left on device"), "{error}");
    let out = format!("{full}/out.csv");
    let error = sort("256MiB", &out, &places.spill);
    assert!(error.contains(&format!("{out}: No space left on device")), "{error}");
    places.assert_nothing_left();
    assert!(names(tiny.0.path()).is_empty(), "{:?}", names(tiny.0.path()));
}
