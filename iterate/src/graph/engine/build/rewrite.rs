use super::super::adjacency::{Adjacency, Part};
use super::super::array::Array64;
use super::super::worker::Worker;
use super::appender::Appender;
use super::assemble;
use fluvial_core::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Adjacency {
    /// Other lists, each made by `change` of that of a vertex.
    ///
    /// # Errors
    /// Too little memory, or a full disk.
    pub(crate) async fn rewrite(&self, worker: &Worker, change: impl Fn(u32, &mut Vec<u32>)) -> Result<Arc<Self>> {
        let mut made = Vec::new();
        let mut cursor = self.cursor(&worker.reservation);
        for (number, part) in self.parts.iter().enumerate() {
            if number % worker.members() != worker.index() {
                continue;
            }
            let offsets = Array64::zeros(&worker.reservation, part.vertices().len() + 1)?;
            let mut targets = Appender::new(worker.maker());
            let (mut written, mut list, mut since) = (0, Vec::new(), 0);
            for vertex in part.vertices() {
                list.clear();
                cursor.pieces(number, vertex, |piece| list.extend_from_slice(piece))?;
                since += 1 + list.len();
                change(vertex, &mut list);
                targets.append(bytemuck::cast_slice(&list))?;
                written += list.len() as u64;
                offsets[(vertex - part.first) as usize + 1].store(written, Relaxed);
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
