use super::super::adjacency::{Adjacency, Part};
use super::super::array::Array64;
use super::super::worker::Worker;
use super::appender::Appender;
use super::assemble;
use fluvial_core::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Adjacency {
    /// The lists without some neighbours, those kept where `keep` says so of a vertex and an item of its list.
    ///
    /// # Errors
    /// Too little memory, or a full disk.
    pub(crate) async fn filter(&self, worker: &Worker, keep: impl Fn(u32, u32) -> bool) -> Result<Arc<Self>> {
        let mut made = Vec::new();
        let mut cursor = self.cursor(&worker.reservation);
        for (number, part) in self.parts.iter().enumerate() {
            if number % worker.members() != worker.index() {
                continue;
            }
            let offsets = Array64::zeros(&worker.reservation, part.vertices().len() + 1)?;
            let mut targets = Appender::new(worker.maker());
            let (mut written, mut kept, mut since) = (0, Vec::new(), 0);
            for vertex in part.vertices() {
                kept.clear();
                cursor.pieces(number, vertex, |list| kept.extend(list.iter().copied().filter(|&item| keep(vertex, item))))?;
                targets.append(bytemuck::cast_slice(&kept))?;
                written += kept.len() as u64;
                offsets[(vertex - part.first) as usize + 1].store(written, Relaxed);
                since += 1 + kept.len();
                if since > 1 << 15 {
                    since = 0;
                    worker.breathe().await;
                }
            }
            let (first, shift) = (part.first, part.shift);
            made.push(Part { first, offsets, targets: targets.finish()?, weights: Vec::new(), shift });
        }
        assemble(worker, made).await
    }
}
