//! Shortest paths from one vertex by a delta iteration: whoever has become nearer tells its neighbours (Bellman 1958, Ford 1956).
//!
//!     cargo run --release --example shortest_paths -- roads.txt 17      # from, to and length on a line, as many lines as roads
//!     cargo run --release --example shortest_paths -- --small --asynchronous                 # without supersteps

use fluvial::prelude::*;

/// The length of the shortest path to each vertex that can be reached: superstep by superstep, or as paths are found.
pub fn shortest_paths(
    roads: &DataStream<(u64, u64, f64)>,
    start: &DataStream<(u64, f64)>,
    asynchronous: bool,
) -> DataStream<(u64, f64)> {
    let nearer = |new: &(u64, f64), known: &(u64, f64)| new.1 < known.1;
    let options = if asynchronous { DeltaOptions::asynchronous(nearer) } else { DeltaOptions::supersteps(u64::MAX) };
    start.iterate_delta_with(
        |d| d.0,
        start,
        options,
        |solution, workset, _| {
            let paths =
                workset.key_by(|d| d.0).join(&roads.key_by(|r| r.0)).inner(|(_, so_far), (_, to, length)| (to, so_far + length));
            let shortest = paths.key_by(|p| p.0).min_by(|p| p.1);
            let nearer = solution.join(
                &shortest,
                |p| p.0,
                |p, known| match known {
                    Some(known) if known.1 <= p.1 => None,
                    _ => Some(p),
                },
            );
            (nearer.clone(), nearer)
        },
    )
}

fn road(line: &str) -> std::result::Result<(u64, u64, f64), String> {
    let parts: Vec<&str> = line.split_whitespace().collect();
    match parts.as_slice() {
        [from, to, length] => {
            let number = |text: &str| text.parse::<u64>().map_err(|e| format!("`{line}`: {text}: {e}"));
            Ok((number(from)?, number(to)?, length.parse().map_err(|e| format!("`{line}`: {length}: {e}"))?))
        }
        _ => Err(format!("`{line}`: two numbers and a length expected")),
    }
}

fn main() -> Result<()> {
    let env = Env::default();
    let (options, arguments): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let asynchronous = options.iter().any(|option| option == "--asynchronous");
    let roads = match arguments.first() {
        Some(path) => env.read_text(&[path])?.try_map(|line| road(&line)),
        // A grid of 30 times 30 crossings.
        None => env.sequence(0..900).flat_map(|v| {
            let east = (v % 30 < 29).then_some((v, v + 1, 1.0 + (v % 7) as f64 / 10.0));
            let south = (v < 870).then_some((v, v + 30, 1.5));
            east.into_iter().chain(south)
        }),
    };
    let from = arguments.get(1).and_then(|v| v.parse().ok()).unwrap_or(0);
    let distances = shortest_paths(&roads, &env.from_collection([(from, 0.0)]), asynchronous);
    for (vertex, length) in distances.top_by(10, |d| (Descending((d.1 * 1e6) as u64), d.0)).collect()? {
        println!("{length:>12.3}  to {vertex}");
    }
    Ok(())
}
