//! Loops in the job graph: which nodes lie in which, what their heads watch, and what cannot be in one.

use super::{Body, Distribution, Graph, Input, Node, NodeId, Piecewise, Timing};
use crate::iteration::{LocalRounds, LoopInput, STORE_SEGMENTS, Spread};
use crate::{Error, Result};

impl Graph {
    /// For each node, the head of the loop in which it lies, if it does: it can be reached from the head without leaving the loop.
    pub(super) fn loops(&self) -> Vec<Option<NodeId>> {
        let mut inside: Vec<Option<NodeId>> = vec![None; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            if !matches!(node.body, Body::LoopExit) {
                inside[id] = node.inputs.iter().find_map(|input| self.loop_of(input, &inside));
            }
        }
        inside
    }

    /// The loop that an input comes from.
    fn loop_of(&self, input: &Input, inside: &[Option<NodeId>]) -> Option<NodeId> {
        match self.nodes[input.node].body {
            Body::LoopHead(_) => (input.port == 0).then_some(input.node),
            Body::AsynchronousLoopHead(_) => Some(input.node),
            _ => inside[input.node],
        }
    }

    /// Whether a node lies in a loop without supersteps.
    pub(super) fn is_asynchronous(&self, id: NodeId, inside: &[Option<NodeId>]) -> bool {
        inside[id].is_some_and(|head| matches!(self.nodes[head].body, Body::AsynchronousLoopHead(_)))
    }

    /// Whether there can be checkpoints of its loops: none has what is on its way in a loop without supersteps.
    ///
    /// # Errors
    /// [`Error::Plan`] that names the loop of which there can be none.
    pub(crate) fn check_checkpoints_of_loops(&self) -> Result<()> {
        let asynchronous = self.nodes.iter().find(|node| matches!(node.body, Body::AsynchronousLoopHead(_)));
        asynchronous.map_or(Ok(()), |node| {
            Err(Error::Plan(format!(
                "`{}`: asynchronous, and the job is to take checkpoints, which there are none of such a loop; with supersteps there are \
                 (`DeltaOptions::supersteps(max).better(..)`), and the answer is the same",
                node.label()
            )))
        })
    }

    /// What comes into a loop from outside, apart from what its head takes: who sends it, and the port.
    pub(super) fn constants(&self, head: NodeId, inside: &[Option<NodeId>]) -> Vec<(NodeId, usize)> {
        let mut constants = Vec::new();
        for (id, node) in self.nodes.iter().enumerate().filter(|(id, _)| inside[*id] == Some(head)) {
            debug_assert_ne!(id, head);
            for input in node.inputs.iter().filter(|input| self.loop_of(input, inside) != Some(head)) {
                if !constants.contains(&(input.node, input.port)) {
                    constants.push((input.node, input.port));
                }
            }
        }
        constants
    }

    /// How an operation in a loop receives its inputs.
    pub(super) fn loop_inputs(&self, id: NodeId, inside: &[Option<NodeId>]) -> Vec<LoopInput> {
        let node = &self.nodes[id];
        let input = |(i, input): (usize, &Input)| LoopInput {
            constant: self.loop_of(input, inside) != inside[id],
            build: node.build_input == Some(i),
            codec: input.codec.clone(),
            spread: match &input.distribution {
                Distribution::Broadcast => Spread::Everywhere,
                Distribution::Hash { partitioner, .. } => Spread::ByKey(partitioner.clone()),
                _ => Spread::Anyhow,
            },
        };
        node.inputs.iter().enumerate().map(input).collect()
    }

    /// The sizes by which a join of these two chooses its build side. In a loop that is the one from outside, whatever its size: its
    /// table is built once for all supersteps.
    pub(crate) fn sizes_for_join(&self, [left, right]: [NodeId; 2], [l, r]: [f64; 2]) -> [f64; 2] {
        let inside = self.loops();
        let in_loop = |id: NodeId| inside[id].is_some() || self.nodes[id].begins_steps();
        match (in_loop(left), in_loop(right)) {
            (true, false) => [f64::INFINITY, r.min(f64::MAX)],
            (false, true) => [l.min(f64::MAX), f64::INFINITY],
            _ => [l, r],
        }
    }

    /// Adds to what operations in loops reserve what the inputs take that are kept for them.
    pub(super) fn reserve_for_loops(&mut self) {
        let inside = self.loops();
        for id in 0..self.nodes.len() {
            if inside[id].is_some() && self.nodes[id].runs_anew() {
                let inputs = self.loop_inputs(id, &inside);
                let early = if self.is_asynchronous(id, &inside) { LocalRounds::early(&inputs) } else { 0 };
                let constant = inputs.iter().filter(|input| input.constant).count();
                self.nodes[id].memory += (constant + early) * STORE_SEGMENTS;
            }
        }
    }

    /// Whether some of the graph iterates superstep by superstep.
    pub(crate) fn iterates(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.body, Body::LoopHead(_)))
    }

    /// Whether its loops can run.
    ///
    /// # Errors
    /// [`Error::Plan`] that names the loop and what is wrong with it.
    pub(crate) fn check_loops(&self) -> Result<()> {
        let inside = self.loops();
        let heads = |node: &Node| node.begins_steps() || matches!(node.body, Body::StreamingLoopHead);
        let nested =
            self.nodes.iter().zip(&inside).find_map(|(node, outer)| Some((node, (*outer)?)).filter(|(node, _)| heads(node)));
        if let Some((node, outer)) = nested {
            return Err(Error::Plan(format!(
                "`{}`: a loop within the loop `{}`; run one after the other, or unroll the inner one",
                node.label(),
                self.nodes[outer].label()
            )));
        }
        for (id, node) in self.nodes.iter().enumerate() {
            let wrong = |what: String| Err(Error::Plan(format!("`{}`: {what}", node.label())));
            if inside[id].is_some() && node.timing == Timing::Assigns {
                return wrong("event times are assigned before a loop, not in its step".into());
            }
            let from: Vec<NodeId> = node.inputs.iter().filter_map(|input| self.loop_of(input, &inside)).collect();
            if !matches!(node.body, Body::LoopExit)
                && let Some(other) = from.iter().find(|head| **head != from[0])
            {
                let (one, other) = (self.nodes[from[0]].label(), self.nodes[*other].label());
                return wrong(format!("its inputs are of the steps of two loops, `{one}` and `{other}`"));
            }
            if matches!(node.body, Body::StreamingLoopHead) {
                self.check_streaming_loop(id)?;
            }
            if let Some(head) = inside[id].filter(|_| self.is_asynchronous(id, &inside))
                && let Some(why) = self.needs_supersteps(id, &inside)
            {
                return wrong(format!("in the asynchronous loop `{}`: {why}", self.nodes[head].label()));
            }
            if !node.begins_steps() {
                continue;
            }
            let of_step = |input: &Input| self.loop_of(input, &inside) == Some(id);
            match (node.feedback.first(), &node.body) {
                (None, _) => return wrong("the loop was begun and not closed".into()),
                (Some(next), Body::AsynchronousLoopHead(wishes)) => {
                    if !of_step(next) {
                        return wrong("the next workset does not depend on what the step is given".into());
                    }
                    if let Some(wish) = wishes.first() {
                        return wrong(format!("asynchronous, it has no supersteps, and its step asks for {wish}"));
                    }
                }
                (Some(tail), _) if inside[tail.node] != Some(id) || !of_step(&self.nodes[tail.node].inputs[0]) => {
                    return wrong("the result of the step does not depend on what the step is given".into());
                }
                (Some(_), _) => {}
            }
            let outside = self.constants(id, &inside);
            if let Some((endless, _)) = outside.iter().find(|(sender, _)| !self.nodes[*sender].bounded) {
                let sender = self.nodes[*endless].label();
                return wrong(format!(
                    "its step uses `{sender}`, whose source does not end: superstep 0 would never begin; loops over streams that do \
                     not end are made with `feedback`"
                ));
            }
        }
        Ok(())
    }
}

impl Graph {
    /// Whether what lies in a loop over a stream gives its results as records come: the loop ends when it is empty, so what
    /// waits for its end would wait for itself.
    fn check_streaming_loop(&self, head: NodeId) -> Result<()> {
        let wrong = |id: NodeId, what: &str| {
            Err(Error::Plan(format!("`{}` in the loop `{}`: {what}", self.nodes[id].label(), self.nodes[head].label())))
        };
        let Some(back) = self.nodes[head].feedback.first() else {
            return wrong(head, "the loop was begun and not closed");
        };
        let mut reached = vec![false; self.nodes.len()];
        reached[head] = true;
        for (id, node) in self.nodes.iter().enumerate().skip(head + 1) {
            reached[id] = !matches!(node.body, Body::LoopExit) && node.inputs.iter().any(|input| reached[input.node]);
            if !reached[id] {
                continue;
            }
            match node.timing {
                Timing::AtTheEnd => {
                    return wrong(
                        id,
                        "it gives its results when its input has ended, which in a loop over a stream it never does",
                    );
                }
                Timing::Assigns => return wrong(id, "event times are assigned before a loop, not in it"),
                _ => {}
            }
            if node.begins_steps() || matches!(node.body, Body::StreamingLoopHead) {
                return wrong(id, "a loop within a loop");
            }
        }
        if !reached[back.node] {
            return wrong(head, "what goes back into the loop does not come from it");
        }
        Ok(())
    }
}

impl Graph {
    /// Why an operation of a step cannot do without supersteps, if it cannot: it must be such that what it gives for parts of its
    /// input, one after the other, is what it gives for the whole, or as good for a monotone step.
    fn needs_supersteps(&self, id: NodeId, inside: &[Option<NodeId>]) -> Option<String> {
        let node = &self.nodes[id];
        if !node.runs_anew() || node.piecewise == Piecewise::Always {
            return None;
        }
        let changing = |input: &Input| self.loop_of(input, inside) == inside[id];
        let changing: Vec<usize> = (0..node.inputs.len()).filter(|i| changing(&node.inputs[*i])).collect();
        let [changing] = changing.as_slice() else {
            return Some("several of its inputs are of the step, which belong together only superstep by superstep".into());
        };
        match node.piecewise {
            Piecewise::OneInput(parts) if parts.get(*changing) == Some(&true) => None,
            Piecewise::OneInput(_) => Some("it gives what of outside has no partner in a superstep, or looks at all that one brings".into()),
            _ => Some(
                "it needs all that a superstep brings; there are none: what works on the records that have come so far are functions of \
                 one record, joins with streams from outside and with the solution set, `reduce`, `min_by`, `max_by` and `distinct`"
                    .into(),
            ),
        }
    }
}

impl Node {
    /// Whether the steps of a loop begin here.
    fn begins_steps(&self) -> bool {
        matches!(self.body, Body::LoopHead(_) | Body::AsynchronousLoopHead(_))
    }

    /// Whether, in a loop, it holds partial results until the end of a superstep.
    pub(super) fn combines(&self) -> bool {
        matches!(self.body, Body::Sink { .. }) && self.outputs > 0
    }

    /// Whether it gathers records without having them in its snapshots.
    pub(super) fn is_unkept(&self) -> bool {
        self.combines() || matches!(self.timing, Timing::AtTheEnd | Timing::Whole) && !matches!(self.body, Body::LoopHead(_))
    }

    /// Whether, in a loop, it begins anew in each superstep.
    pub(super) fn runs_anew(&self) -> bool {
        matches!(self.body, Body::Operator(_)) && !self.aware
    }
}
