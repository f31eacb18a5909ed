use super::memory::{exact, segments};
use super::{Graph, Node};
use fluvial_memory::hash::hash_bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A job graph as data: what `explain` prints and JSON holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphDescription {
    /// The nodes; inputs refer to them by position.
    pub nodes: Vec<NodeDescription>,
}

/// One node of a [`GraphDescription`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Stable id: the user's `uid`, or one derived from the kinds of the node and of all that is upstream of it.
    pub uid: String,
    /// What kind of operation.
    pub kind: String,
    /// The name shown to people.
    pub name: String,
    /// What there is to know beyond the kind.
    pub detail: String,
    /// Bytes of managed memory that each worker reserves for it before it takes records.
    pub memory: u64,
    /// Where its records come from.
    pub inputs: Vec<InputDescription>,
}

/// One input of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDescription {
    /// Position of the node that feeds it.
    pub node: usize,
    /// That node's output port.
    pub port: usize,
    /// `forward`, `hash`, `range`, `broadcast`, `watch`, `rebalance` or `first process`.
    pub distribution: String,
    /// The key that decides, where one does.
    pub key: Option<String>,
    /// Whether it is the way back of a loop, from a node behind this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub feedback: bool,
}

impl Graph {
    pub(crate) fn describe(&self) -> GraphDescription {
        let mut nodes: Vec<NodeDescription> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let uid = node.uid.clone().unwrap_or_else(|| derive_uid(node, &nodes));
            let feedback = node.feedback.iter().map(|input| (input, true));
            let inputs = node.inputs.iter().map(|input| (input, false)).chain(feedback).map(|(i, feedback)| InputDescription {
                node: i.node,
                feedback,
                port: i.port,
                distribution: i.distribution.label().to_owned(),
                key: i.distribution.key().map(str::to_owned),
            });
            nodes.push(NodeDescription {
                uid,
                kind: node.kind.to_owned(),
                name: node.label().to_owned(),
                detail: node.detail.clone(),
                memory: segments(node.memory),
                inputs: inputs.collect(),
            });
        }
        GraphDescription { nodes }
    }
}

/// The same in every process and every run of the same program; two equal operations on the same input differ by a count.
fn derive_uid(node: &Node, before: &[NodeDescription]) -> String {
    let mut text = node.kind.to_owned();
    for input in &node.inputs {
        text.push_str(&format!("|{}:{}:{}", before[input.node].uid, input.port, input.distribution.label()));
    }
    let uid = format!("{}-{:08x}", node.kind, hash_bytes(text.as_bytes()) as u32);
    let same = before.iter().filter(|n| n.uid == uid || n.uid.starts_with(&format!("{uid}."))).count();
    if same == 0 { uid } else { format!("{uid}.{same}") }
}

impl GraphDescription {
    /// The graph as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|e| unreachable!("strings and numbers serialize: {e}"))
    }
}

/// One line a node, sinks first, inputs indented below; then the least memory that it can run in.
impl fmt::Display for GraphDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used: std::collections::HashSet<usize> = self.nodes.iter().flat_map(|n| n.inputs.iter().map(|i| i.node)).collect();
        let mut shown = vec![false; self.nodes.len()];
        for root in (0..self.nodes.len()).filter(|n| !used.contains(n)) {
            self.line(f, root, "", &mut shown, 0)?;
        }
        writeln!(f, "at least {} of memory for each worker", exact(self.minimum_memory()))
    }
}

impl GraphDescription {
    fn line(&self, f: &mut fmt::Formatter<'_>, node: usize, via: &str, shown: &mut [bool], depth: usize) -> fmt::Result {
        let n = &self.nodes[node];
        let indent = "  ".repeat(depth);
        write!(f, "{indent}{via}{}", n.name)?;
        if !n.detail.is_empty() {
            write!(f, " [{}]", n.detail)?;
        }
        if std::mem::replace(&mut shown[node], true) {
            return writeln!(f, "  (as above)");
        }
        writeln!(f)?;
        for input in &n.inputs {
            let back = if input.feedback { "feedback " } else { "" };
            let via = match &input.key {
                Some(key) => format!("<- {back}{} ({key}) ", input.distribution),
                None => format!("<- {back}{} ", input.distribution),
            };
            self.line(f, input.node, &via, shown, depth + 1)?;
        }
        Ok(())
    }
}
