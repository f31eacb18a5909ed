use crate::graph::engine::Worker;
use crate::graph::engine::array::Array32;
use fluvial_core::Result;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Vertices by degree, largest first.
pub(super) struct Order {
    /// By vertex.
    ranks: Array32,
    /// By rank.
    vertices: Array32,
}

impl Order {
    pub(super) fn new(worker: &Worker, degrees: &[AtomicU32]) -> Result<Self> {
        let (ranks, vertices) =
            (Array32::zeros(&worker.reservation, degrees.len())?, Array32::zeros(&worker.reservation, degrees.len())?);
        let largest = degrees.iter().map(|degree| degree.load(Relaxed)).max().unwrap_or(0) as usize;
        let _charge = worker.charge((largest + 1) * 4)?;
        // By degree: how many vertices have a larger one, then the next rank.
        let mut next = vec![0u32; largest + 1];
        degrees.iter().for_each(|degree| next[degree.load(Relaxed) as usize] += 1);
        let mut before = 0;
        next.iter_mut().rev().for_each(|count| before += std::mem::replace(count, before));
        for (vertex, degree) in degrees.iter().enumerate().rev() {
            let rank = &mut next[degree.load(Relaxed) as usize];
            ranks[vertex].store(*rank, Relaxed);
            vertices[*rank as usize].store(vertex as u32, Relaxed);
            *rank += 1;
        }
        Ok(Self { ranks, vertices })
    }

    pub(super) fn rank(&self, vertex: u32) -> u32 {
        self.ranks[vertex as usize].load(Relaxed)
    }

    pub(super) fn vertex(&self, rank: u32) -> u32 {
        self.vertices[rank as usize].load(Relaxed)
    }
}
