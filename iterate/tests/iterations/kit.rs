use fluvial_core::{Config, Env, Result};

pub fn env(threads: usize) -> Env {
    Env::new(Config { threads, ..Config::default() })
}

/// One with this little memory.
pub fn tight(threads: usize, memory: usize) -> Env {
    Env::new(Config { threads, memory, ..Config::default() })
}

pub fn sorted<T: PartialOrd>(mut records: Vec<T>) -> Result<Vec<T>> {
    records.sort_by(|a, b| a.partial_cmp(b).unwrap());
    Ok(records)
}

/// Numbers that look random (Steele, Lea, Flood: SplitMix64).
pub fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The smallest vertex that each of `vertices` is connected with.
pub fn components(vertices: u64, edges: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut parent: Vec<u64> = (0..vertices).collect();
    fn root(parent: &mut [u64], mut v: u64) -> u64 {
        while parent[v as usize] != v {
            parent[v as usize] = parent[parent[v as usize] as usize];
            v = parent[v as usize];
        }
        v
    }
    for (a, b) in edges {
        let (a, b) = (root(&mut parent, a), root(&mut parent, b));
        parent[a.max(b) as usize] = a.min(b);
    }
    (0..vertices).map(|v| (v, root(&mut parent, v))).collect()
}
