//! A mesh leaves no thread behind, after good jobs and failed ones.

mod kit;

use fluvial_core::Error;
use fluvial_core::runtime::{Edge, Mesh, Plan};
use kit::{Collected, by_hash, collect, config, node, numbers};

/// Threads of this process that are named after the runtime's.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.unwrap().path().join("comm"));
    tasks.filter_map(|task| name(task).ok()).filter(|name| name.starts_with("timely:")).count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_mesh_joins_its_threads() {
    let mesh = Mesh::start(config(3)).unwrap();
    let sink = Collected::default();
    let plan = |failing: bool| {
        let sink = sink.clone();
        let check =
            kit::operator(move |_, _, _| if failing { Err(Error::User("no".into())) } else { Ok(fluvial_core::Progress::Done) });
        let nodes = vec![
            node(0, "numbers", numbers(10_000, 10), vec![], 1),
            node(1, "collect", collect(&sink), vec![Edge::new(0, 0, by_hash())], 0),
            node(2, "check", check, vec![Edge::new(0, 0, by_hash())], 0),
        ];
        Plan::new("threads", nodes)
    };
    mesh.run(&plan(false)).unwrap();
    assert_eq!(sink.take().len(), 10_000);
    assert_eq!(threads(), 3);
    mesh.run(&plan(true)).unwrap_err();
    drop(mesh.submit(&plan(false)).unwrap());
    drop(mesh);
    assert_eq!(threads(), 0);
}
