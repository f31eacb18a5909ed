//! Made-up values of a schema, as bytes: what today's type says to them it will say to stored ones.

use super::Schema;
use super::layout::{Layout, Node};

/// Bytes of all made-up values together; a schema that needs more is not tried out.
const BYTES: usize = 1 << 20;

/// Parts that are looked at in search of values that end.
const STEPS: usize = 1 << 16;

/// Values in which every variant of every enum occurs, every option has a value, and every sequence has elements. Empty where a
/// schema has none that could be made up.
pub(super) fn samples(layout: &Layout) -> Vec<Vec<u8>> {
    let mut maker = Maker { layout, open: Vec::new(), bytes: BYTES, steps: STEPS };
    maker.all(0).unwrap_or_default()
}

struct Maker<'a> {
    layout: &'a Layout,
    /// The parts around the one in hand.
    open: Vec<usize>,
    bytes: usize,
    steps: usize,
}

impl Maker<'_> {
    fn pay(&mut self, bytes: usize) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(())
    }

    /// The values of a part; none if there is no end to it, or not for so little.
    fn all(&mut self, at: usize) -> Option<Vec<Vec<u8>>> {
        if self.open.contains(&at) {
            return Some(vec![self.shortest(at)?]);
        }
        self.open.push(at);
        let samples = self.of_node(at);
        self.open.pop();
        let samples = samples?;
        self.pay(samples.iter().map(Vec::len).sum())?;
        (!samples.is_empty()).then_some(samples)
    }

    fn of_node(&mut self, at: usize) -> Option<Vec<Vec<u8>>> {
        let layout = self.layout;
        Some(match layout.node(at) {
            Node::Scalar(scalar) => vec![made_up(scalar)],
            Node::Option(value) => match self.all(*value) {
                Some(values) => values.into_iter().map(|value| prefixed(&[1], &value)).collect(),
                None => vec![vec![0]],
            },
            Node::Seq(element) => {
                let elements = self.all(*element).unwrap_or_default();
                vec![prefixed(&(elements.len() as u32).to_le_bytes(), &elements.concat())]
            }
            Node::Map(key, value) => {
                let entries = self.all(*key).zip(self.all(*value)).map(|(keys, values)| together(&[keys, values]));
                let entries = entries.unwrap_or_default();
                vec![prefixed(&(entries.len() as u32).to_le_bytes(), &entries.concat())]
            }
            Node::Array(element, length) => {
                let elements = self.all(*element)?;
                let bytes = elements.iter().map(Vec::len).max()?.checked_mul(*length)?;
                self.pay(bytes.checked_mul(elements.len())?)?;
                self.pay(*length)?;
                elements.iter().map(|element| element.repeat(*length)).collect()
            }
            Node::Tuple(fields) | Node::Struct { fields, .. } => {
                let fields: Option<Vec<_>> = fields.iter().map(|(_, field)| self.all(*field)).collect();
                together(&fields?)
            }
            Node::Enum { variants, .. } => {
                let mut samples = Vec::new();
                for (index, (_, content)) in variants.iter().enumerate() {
                    let contents = self.all(*content).unwrap_or_default();
                    samples.extend(contents.iter().map(|content| prefixed(&number(index), content)));
                }
                samples
            }
        })
    }

    /// A value of a recursive part that ends.
    fn shortest(&mut self, at: usize) -> Option<Vec<u8>> {
        let mut open = Vec::new();
        self.end(at, &mut open)
    }

    fn end(&mut self, at: usize, open: &mut Vec<usize>) -> Option<Vec<u8>> {
        self.pay(0)?;
        if open.contains(&at) {
            return None;
        }
        open.push(at);
        let layout = self.layout;
        let value = match layout.node(at) {
            Node::Scalar(scalar) => Some(made_up(scalar)),
            Node::Option(_) => Some(vec![0]),
            Node::Seq(_) | Node::Map(..) => Some(vec![0; 4]),
            Node::Array(element, length) => self.end(*element, open).and_then(|element| {
                self.pay(element.len().checked_mul(*length)?)?;
                Some(element.repeat(*length))
            }),
            Node::Tuple(fields) | Node::Struct { fields, .. } => {
                let fields: Option<Vec<_>> = fields.iter().map(|(_, field)| self.end(*field, open)).collect();
                fields.map(|fields| fields.concat())
            }
            Node::Enum { variants, .. } => variants
                .iter()
                .enumerate()
                .find_map(|(index, (_, content))| Some(prefixed(&number(index), &self.end(*content, open)?))),
        };
        open.pop();
        let value = value?;
        self.pay(value.len())?;
        Some(value)
    }
}

/// Values of several parts, as many as the part with the most has.
fn together(parts: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let count = parts.iter().map(Vec::len).max().unwrap_or(1);
    (0..count).map(|i| parts.iter().flat_map(|values| values[i % values.len()].iter().copied()).collect()).collect()
}

fn prefixed(prefix: &[u8], rest: &[u8]) -> Vec<u8> {
    [prefix, rest].concat()
}

/// The number of a variant.
fn number(index: usize) -> Vec<u8> {
    match u8::try_from(index) {
        Ok(index) if index < 255 => vec![index],
        _ => prefixed(&[255], &(index as u32).to_le_bytes()),
    }
}

/// One rather than zero: there are types that refuse zero.
fn made_up(scalar: &Schema) -> Vec<u8> {
    match scalar {
        Schema::Bool => vec![0],
        Schema::F32 => 1f32.to_le_bytes().to_vec(),
        Schema::F64 => 1f64.to_le_bytes().to_vec(),
        Schema::Char => u32::from('a').to_le_bytes().to_vec(),
        Schema::Str | Schema::Bytes => vec![0; 4],
        number => {
            let mut bytes = vec![0; number.width().unwrap_or(0)];
            if let Some(first) = bytes.first_mut() {
                *first = 1;
            }
            bytes
        }
    }
}
