//! Connected components by a delta iteration: only vertices whose label has changed tell their neighbours.
//!
//!     cargo run --release --example connected_components -- edges.txt      # two numbers a line; lines with # do not count
//!     cargo run --release --example connected_components -- --small

use fluvial::prelude::*;

/// Each vertex with the smallest vertex that it is connected with.
pub fn components(edges: &DataStream<(u64, u64)>) -> DataStream<(u64, u64)> {
    let edges = edges.flat_map(|(a, b)| [(a, b), (b, a)]);
    let labels = edges.map(|e| (e.0, e.0)).key_by(|l| l.0).distinct();
    labels.iterate_delta(
        |l| l.0,
        &labels,
        u64::MAX,
        |solution, workset, _| {
            let heard = workset.key_by(|l| l.0).join(&edges.key_by(|e| e.0)).inner(|label, edge| (edge.1, label.1));
            let least = heard.key_by(|h| h.0).min_by(|h| h.1);
            let changed = solution.join(&least, |l| l.0, |l, known| known.is_some_and(|known| l.1 < known.1).then_some(l));
            // What changes the solution is what is worth telling.
            (changed.clone(), changed)
        },
    )
}

fn edge(line: &str) -> std::result::Result<(u64, u64), String> {
    let mut numbers = line.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(a)), Some(Ok(b))) => Ok((a, b)),
        _ => Err(format!("`{line}`: two numbers expected")),
    }
}

fn main() -> Result<()> {
    let env = Env::default();
    let edges = match std::env::args().nth(1).filter(|a| a != "--small") {
        Some(path) => env.read_text(&[path])?.filter(|line| !line.starts_with('#')).try_map(|line| edge(&line)),
        // Rings of ten.
        None => env.sequence(0..1000).map(|v| (v, if v % 10 == 9 { v - 9 } else { v + 1 })),
    };
    let sizes = components(&edges).key_by(|c| c.1).count();
    let largest = sizes.top_by(10, |s| (Descending(s.1), s.0)).collect()?;
    for (component, vertices) in largest {
        println!("{vertices:>10} vertices with {component}");
    }
    Ok(())
}
