//! Iterations written by a user with the generic operators: empty supersteps, PageRank, connected components, k-means.
//!
//!     cargo bench -p fluvial-iterate --bench generic -- [empty|pagerank|components|kmeans]... [--threads N] [--scale N]
//!
//! The inputs are made before the clock starts, as if they had been read: R-MAT (Chakrabarti, Zhan, Faloutsos 2004) with a = 0.57,
//! b = c = 0.19, d = 0.05, duplicates and loops kept; points in blocks of 1024.

use fluvial_core::{Aggregator, Config, DataStream, Env, Result, format_bytes, peak_resident};
use fluvial_iterate::{Iterate, IterateDelta};
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

/// The edges of an R-MAT graph, whose vertices are numbered at random.
fn rmat(scale: u32, edge_factor: u64) -> Arc<Vec<(u64, u64)>> {
    let mask = (1u64 << scale) - 1;
    // A bijection of the numbers below 2^scale.
    let permute = |v: u64| {
        let v = v.wrapping_mul(0x9e37_79b9) & mask;
        (v ^ (v >> (scale / 2))).wrapping_mul(0x85eb_ca6b) & mask
    };
    let mut state = 1;
    let edge = |_| {
        let (mut src, mut dst) = (0, 0);
        for _ in 0..scale {
            let r = (random(&mut state) >> 40) as f64 / (1u64 << 24) as f64;
            src = src << 1 | u64::from(r >= 0.76);
            dst = dst << 1 | u64::from((0.57..0.76).contains(&r) || r >= 0.95);
        }
        (permute(src), permute(dst))
    };
    Arc::new((0..edge_factor << scale).map(edge).collect())
}

fn stream<T: fluvial_core::Data>(env: &Env, records: &Arc<Vec<T>>) -> DataStream<T> {
    let from = records.clone();
    env.generate(records.len() as u64, move |i| from[i as usize].clone())
}

fn say(what: &str, size: &str, seconds: f64, threads: usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let peak = format_bytes(peak_resident());
    println!("{what}: {seconds:.3} s ({size}; {threads} workers, {cores} cores, {peak} resident at most)");
}

fn empty(env: &Env, threads: usize) -> Result<()> {
    const SUPERSTEPS: u64 = 20_000;
    for aggregated in [false, true] {
        let steps = env.sequence(0..0).iterate(SUPERSTEPS, |partial, it| {
            let total = it.sum::<u64>("total");
            if aggregated {
                it.converge(&total, |total| *total > 0);
            }
            partial.map(|n| n)
        });
        let before = Instant::now();
        steps.count()?;
        let micros = before.elapsed().as_secs_f64() * 1e6 / SUPERSTEPS as f64;
        let with = if aggregated { "with" } else { "without" };
        println!("empty superstep {with} an aggregator: {micros:.1} us ({SUPERSTEPS} supersteps, {threads} workers)");
    }
    Ok(())
}

/// What each vertex has edges to.
fn neighbours(edges: &DataStream<(u64, u64)>) -> DataStream<(u64, Vec<u64>)> {
    edges.key_by(|e| e.0).reduce_group(|v, edges, out| out.push((*v, edges.map(|e| e.1).collect::<Vec<u64>>())))
}

fn pagerank(env: &Env, edges: &Arc<Vec<(u64, u64)>>, scale: u32) -> Result<f64> {
    let vertices = 1u64 << scale;
    let links = neighbours(&stream(env, edges));
    let start = env.sequence(0..vertices).map(move |v| (v, 1.0 / vertices as f64));
    let ranks = start.iterate(20, |ranks, _| {
        let passed = ranks.key_by(|r| r.0).join(&links.key_by(|l| l.0)).left(|(v, rank), links| {
            let targets = links.map_or(Vec::new(), |l| l.1);
            (v, rank / targets.len().max(1) as f64, targets)
        });
        let gained = passed.flat_map_with(|(v, share, targets), out| {
            // A vertex that nothing links to has a sum too.
            out.push((v, 0.0));
            targets.into_iter().for_each(|t| out.push((t, share)));
        });
        let gained = gained.key_by(|g| g.0).sum(|g| g.1);
        gained.map(move |(v, gained)| (v, 0.15 / vertices as f64 + 0.85 * gained))
    });
    let total = ranks.sum(|r| r.1).collect()?;
    Ok(total[0])
}

/// The smallest number.
#[derive(Clone)]
struct Least;

impl Aggregator<(u64, u64)> for Least {
    type Accumulator = u64;
    type Output = u64;
    fn create(&self) -> u64 {
        u64::MAX
    }
    fn add(&self, least: &mut u64, record: (u64, u64)) {
        *least = record.1.min(*least);
    }
    fn merge(&self, least: &mut u64, other: u64) {
        *least = other.min(*least);
    }
    fn finish(&self, least: u64) -> u64 {
        least
    }
}

fn components(env: &Env, edges: &Arc<Vec<(u64, u64)>>, scale: u32) -> Result<u64> {
    let edges = stream(env, edges).flat_map(|(a, b)| [(a, b), (b, a)]);
    let links = neighbours(&edges);
    let labels = env.sequence(0..1u64 << scale).map(|v| (v, v));
    let components = labels.iterate_delta(
        |l| l.0,
        &labels,
        u64::MAX,
        |solution, workset, _| {
            let heard = workset.key_by(|l| l.0).join(&links.key_by(|l| l.0)).inner(|label, (_, others)| (label.1, others));
            let heard = heard.flat_map_with(|(label, others), out| others.into_iter().for_each(|v| out.push((v, label))));
            let least = heard.key_by(|h| h.0).aggregate(Least);
            let changed = solution.join(&least, |s| s.0, |s, known| known.is_some_and(|known| s.1 < known.1).then_some(s));
            (changed.clone(), changed)
        },
    );
    components.filter(|c| c.0 == c.1).count()
}

type Point = [f64; 8];

const CENTRES: usize = 16;

/// Squared. The compiler works on several coordinates at a time where their sum has no order that it must keep to.
fn distance(a: &Point, b: &Point) -> f64 {
    let [s, t, u, v, w, x, y, z] = std::array::from_fn(|i| (a[i] - b[i]) * (a[i] - b[i]));
    ((s + w) + (u + y)) + ((t + x) + (v + z))
}

/// The place of the nearest centre.
fn nearest(centres: &[Point; CENTRES], point: &Point) -> usize {
    let (mut place, mut least) = (0, f64::INFINITY);
    for (i, centre) in centres.iter().enumerate() {
        let distance = distance(centre, point);
        if distance < least {
            (place, least) = (i, distance);
        }
    }
    place
}

fn kmeans(env: &Env, blocks: &Arc<Vec<Vec<Point>>>) -> Result<Vec<(u64, Point)>> {
    let start: Vec<(u64, Point)> = (0..CENTRES).map(|i| (i as u64, blocks[0][i])).collect();
    let points = stream(env, blocks);
    let centres = env.from_collection(start).iterate(10, |centres, _| {
        let sums = points.with_broadcast(centres).flat_map_ref(|block, centres| {
            let places: [Point; CENTRES] = std::array::from_fn(|i| centres[i].1);
            let mut sums = [([0.0; 8], 0u64); CENTRES];
            for point in block {
                let (sum, count) = &mut sums[nearest(&places, point)];
                sum.iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
                *count += 1;
            }
            centres.iter().zip(sums).map(|(centre, (sum, count))| (centre.0, sum, count)).collect::<Vec<_>>()
        });
        let sums = sums.key_by(|s| s.0).reduce(|mut a, b| {
            a.1.iter_mut().zip(&b.1).for_each(|(a, b)| *a += b);
            (a.0, a.1, a.2 + b.2)
        });
        sums.map(|(centre, sum, count)| (centre, sum.map(|x| x / count.max(1) as f64)))
    });
    centres.collect()
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let option = |name: &str| arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1)?.parse::<u64>().ok());
    let threads = option("--threads").unwrap_or(2) as usize;
    let scale = option("--scale").unwrap_or(20) as u32;
    let named = |name: &str| arguments.iter().any(|a| a == name);
    let all = !["empty", "pagerank", "components", "kmeans"].iter().any(|name| named(name));
    let env = || Env::new(Config { threads, memory: 4 << 30, ..Config::default() });
    if all || named("empty") {
        empty(&env(), threads)?;
    }
    if all || named("pagerank") || named("components") {
        let edges = rmat(scale, 16);
        let size = format!("R-MAT scale {scale}, {} edges", edges.len());
        if all || named("pagerank") {
            let env = env();
            let start = Instant::now();
            let total = pagerank(&env, &edges, scale)?;
            say(&format!("pagerank, 20 rounds (ranks sum to {total:.4})"), &size, start.elapsed().as_secs_f64(), threads);
            let supersteps: Vec<f64> = env.monitor().supersteps(0).iter().map(|superstep| superstep.seconds).collect();
            if let [first, others @ ..] = &supersteps[..] {
                let each = others.iter().sum::<f64>() / others.len().max(1) as f64;
                println!("  superstep 0, with what is before it: {first:.3} s; others: {each:.3} s on average");
            }
        }
        if all || named("components") {
            let env = env();
            let start = Instant::now();
            let count = components(&env, &edges, scale)?;
            say(&format!("{count} components"), &size, start.elapsed().as_secs_f64(), threads);
            for superstep in env.monitor().supersteps(0) {
                println!("  superstep {}: {} records, {:.3} s", superstep.superstep, superstep.workset, superstep.seconds);
            }
        }
    }
    if all || named("kmeans") {
        let mut state = 7;
        let mut point = || std::array::from_fn(|_| (random(&mut state) >> 11) as f64 / (1u64 << 53) as f64);
        let count = if scale < 20 { 1 << 18 } else { 10_000_000usize };
        let blocks: Vec<Vec<Point>> = (0..count.div_ceil(1024)).map(|_| (0..1024).map(|_| point()).collect()).collect();
        let blocks = Arc::new(blocks);
        let env = env();
        let start = Instant::now();
        let centres = kmeans(&env, &blocks)?;
        let size = format!("{count} points of 8 numbers, {} centres, 10 rounds", centres.len());
        say("k-means", &size, start.elapsed().as_secs_f64(), threads);
    }
    Ok(())
}
