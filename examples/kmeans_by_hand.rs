//! k-means (Lloyd 1982) by a bulk iteration over the centres, which every worker sees beside its points.
//!
//!     cargo run --release --example kmeans_by_hand
//!     cargo run --release --example kmeans_by_hand -- --small

use fluvial::prelude::*;

type Point = [f64; 2];

fn distance(a: &Point, b: &Point) -> f64 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

/// The centres after at most so many rounds; fewer if they stand still before.
pub fn kmeans(points: &DataStream<Point>, centres: &DataStream<(u64, Point)>, rounds: u64) -> DataStream<(u64, Point)> {
    centres.iterate(rounds, |centres, it| {
        let moved = it.sum::<f64>("moved");
        it.converge(&moved, |moved| *moved < 1e-12);
        let nearest = points.with_broadcast(centres).map(|point, centres| {
            let least = centres.iter().min_by(|a, b| distance(&a.1, &point).total_cmp(&distance(&b.1, &point)));
            (least.map_or(0, |centre| centre.0), point, 1u64)
        });
        let sums = nearest.key_by(|n| n.0).reduce(|a, b| (a.0, [a.1[0] + b.1[0], a.1[1] + b.1[1]], a.2 + b.2));
        // A centre without points stays where it is.
        centres.key_by(|c| c.0).join(&sums.key_by(|s| s.0)).left(move |(number, old), sum| {
            let new = sum.map_or(old, |(_, sum, count)| sum.map(|x| x / count as f64));
            moved.add(distance(&old, &new));
            (number, new)
        })
    })
}

fn main() -> Result<()> {
    let small = std::env::args().any(|a| a == "--small");
    let env = Env::default();
    // Around four corners.
    let points = env.generate(if small { 10_000 } else { 1_000_000 }, |i| {
        let spread = |n: u64| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64;
        [(i % 2) as f64 * 10.0 + spread(i), (i / 2 % 2) as f64 * 10.0 + spread(i ^ 0x5555)]
    });
    let start = env.from_collection([(0, [1.0, 1.0]), (1, [9.0, 2.0]), (2, [3.0, 7.0]), (3, [6.0, 6.0])]);
    for (number, [x, y]) in kmeans(&points, &start, 50).sort_by(|c| c.0).collect()? {
        println!("centre {number}: {x:.3} {y:.3}");
    }
    Ok(())
}
