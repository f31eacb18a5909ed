//! PageRank by a bulk iteration that ends when the ranks hardly move.
//!
//!     cargo run --release --example pagerank -- edges.txt      # two numbers a line; lines with # do not count
//!     cargo run --release --example pagerank -- --small

use fluvial::prelude::*;

const DAMPING: f64 = 0.85;

/// Ranks of the pages, which sum up to the number of pages unless some have no links.
pub fn pagerank(links: &DataStream<(u64, u64)>, tolerance: f64) -> DataStream<(u64, f64)> {
    let targets =
        links.key_by(|l| l.0).reduce_group(|page, links, out| out.push((*page, links.map(|l| l.1).collect::<Vec<u64>>())));
    let pages = links.flat_map(|(a, b)| [a, b]).distinct();
    pages.map(|page| (page, 1.0)).iterate(100, |ranks, it| {
        let moved = it.sum::<f64>("moved");
        it.converge(&moved, move |moved| *moved < tolerance);
        // The links are outside of the loop: they are grouped, spread and made into a table once.
        let passed = ranks.key_by(|r| r.0).join(&targets.key_by(|t| t.0)).inner(|(_, rank), (_, targets)| (rank, targets));
        let gained = passed.flat_map_with(|(rank, targets), out| {
            let share = DAMPING * rank / targets.len() as f64;
            targets.into_iter().for_each(|page| out.push((page, share)));
        });
        let gained = gained.key_by(|g| g.0).sum(|g| g.1);
        ranks.key_by(|r| r.0).join(&gained.key_by(|g| g.0)).left(move |(page, rank), gained| {
            let next = 1.0 - DAMPING + gained.map_or(0.0, |g| g.1);
            moved.add((next - rank).abs());
            (page, next)
        })
    })
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
    let links = match std::env::args().nth(1).filter(|a| a != "--small") {
        Some(path) => env.read_text(&[path])?.filter(|line| !line.starts_with('#')).try_map(|line| edge(&line)),
        // Everybody links to somebody smaller, and to the next.
        None => env.sequence(1..1000).flat_map(|page| [(page, page / 2), (page, (page + 1) % 1000)]),
    };
    for (page, rank) in pagerank(&links, 1e-6).top_by(10, |r| Descending((r.1 * 1e9) as u64)).collect()? {
        println!("{rank:>12.6}  page {page}");
    }
    println!("{} rounds", env.monitor().supersteps(0).len());
    Ok(())
}
