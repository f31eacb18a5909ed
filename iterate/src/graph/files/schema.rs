//! What tables of edges and of vertices look like, wherever they come from.

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::fmt;
use std::sync::Arc;

/// What the ids of vertices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdType {
    /// Numbers from 0 on: `u64`, columns of `UInt64`.
    Number,
    /// Text: `String`, columns of `Utf8`.
    Text,
}

impl IdType {
    /// The type of their columns.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Number => DataType::UInt64,
            Self::Text => DataType::Utf8,
        }
    }
}

/// Tables of edges have the columns `src`, `dst` and, where edges have weights, `weight` (`Float64`); none is ever null.
pub fn edge_schema(ids: IdType, weighted: bool) -> SchemaRef {
    schema(if weighted { &WEIGHTED_EDGES } else { &EDGES }, ids)
}

/// Tables of vertices have the column `id`, never null.
pub fn vertex_schema(ids: IdType) -> SchemaRef {
    schema(&VERTICES, ids)
}

/// What a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Target,
    Weight,
    Vertex,
}

pub(super) const EDGES: [Role; 2] = [Role::Source, Role::Target];
pub(super) const WEIGHTED_EDGES: [Role; 3] = [Role::Source, Role::Target, Role::Weight];
pub(super) const VERTICES: [Role; 1] = [Role::Vertex];

pub(super) fn schema(roles: &[Role], ids: IdType) -> SchemaRef {
    let field = |role: &Role| Field::new(role.column(), role.data_type(ids), false);
    Arc::new(Schema::new(roles.iter().map(field).collect::<Vec<_>>()))
}

impl Role {
    /// The column's name.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Source => "src",
            Self::Target => "dst",
            Self::Weight => "weight",
            Self::Vertex => "id",
        }
    }

    pub(super) fn data_type(self, ids: IdType) -> DataType {
        if self == Self::Weight { DataType::Float64 } else { ids.data_type() }
    }

    /// Whether a column of a file is called so.
    pub(super) fn is_called(self, name: &str) -> bool {
        let names: &[&str] = match self {
            Self::Source => &["src", "source", "from", "fromnodeid", "srcid", "sourceid"],
            Self::Target => &["dst", "destination", "target", "to", "tonodeid", "dstid", "targetid"],
            Self::Weight => &["weight", "w", "cost", "distance"],
            Self::Vertex => &["id", "vertex", "node", "nodeid", "vertexid"],
        };
        // `From_Node-ID` is `fromnodeid`.
        let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        names.contains(&plain.as_str())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Weight => "weight",
            Self::Vertex => "vertex",
        })
    }
}
