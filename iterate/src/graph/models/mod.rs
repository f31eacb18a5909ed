//! Models for algorithms of one's own: functions of a vertex and its messages.

mod messages;
mod scatter_gather;
mod vertex_centric;

pub use scatter_gather::{Scatter, ScatterGather};
pub use vertex_centric::{Vertex, VertexCentric};
