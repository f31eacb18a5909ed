//! A schema made ready for reading: a table of its parts, in which recursive types point back to themselves.

use super::Schema;

/// Parts that a schema may have: types have a few hundred at most, a damaged schema must not fill the memory.
const PARTS: usize = 1 << 16;

/// The parts of a schema; the first one is the whole.
#[derive(Debug)]
pub(super) struct Layout {
    nodes: Vec<Node>,
}

/// A part of a schema, which names other parts by their places.
#[derive(Debug)]
pub(super) enum Node {
    /// A schema without parts.
    Scalar(Schema),
    Option(usize),
    Seq(usize),
    Map(usize, usize),
    /// The fields are named by their numbers.
    Tuple(Vec<Field>),
    Array(usize, usize),
    Struct {
        name: String,
        fields: Vec<Field>,
        shape: Shape,
    },
    Enum {
        name: String,
        variants: Vec<Field>,
    },
}

/// The name of a field or variant, and its part.
pub(super) type Field = (String, usize);

/// What a struct was declared as, as far as its schema shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Without fields.
    Unit,
    /// One field without a name.
    Newtype,
    /// Fields without names.
    Tuple,
    /// Fields with names.
    Named,
}

impl Layout {
    /// The layout of a schema.
    ///
    /// # Errors
    /// What about the schema cannot be read.
    pub(super) fn new(schema: &Schema) -> Result<Self, String> {
        let mut layout = Self { nodes: Vec::new() };
        layout.add(schema, &mut Vec::new())?;
        Ok(layout)
    }

    pub(super) fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// Adds a part; `open` are the containers around it.
    fn add<'s>(&mut self, schema: &'s Schema, open: &mut Vec<(&'s str, &'s Schema, usize)>) -> Result<usize, String> {
        if let Schema::Recursive(name) = schema {
            let mut around = open.iter().rev().filter(|(other, ..)| other == name);
            let Some(&(_, container, at)) = around.next() else {
                return Err(format!("`{name}` is said to be inside itself, and is not"));
            };
            return match around.all(|(_, other, _)| *other == container) {
                true => Ok(at),
                false => Err(format!("several types around it are named `{name}`: which one is recursive is not stored")),
            };
        }
        let at = self.nodes.len();
        if at >= PARTS {
            return Err(format!("the schema has more than {PARTS} parts"));
        }
        self.nodes.push(Node::Scalar(Schema::Unit));
        if let Schema::Struct { name, .. } | Schema::Enum { name, .. } = schema {
            open.push((name, schema, at));
        }
        self.nodes[at] = match schema {
            Schema::Option(value) => Node::Option(self.add(value, open)?),
            Schema::Seq(element) => Node::Seq(self.add(element, open)?),
            Schema::Map(key, value) => Node::Map(self.add(key, open)?, self.add(value, open)?),
            Schema::Tuple(fields) => {
                let fields = fields.iter().enumerate().map(|(i, field)| Ok((i.to_string(), self.add(field, open)?)));
                Node::Tuple(fields.collect::<Result<_, String>>()?)
            }
            Schema::Array(element, length) => Node::Array(self.add(element, open)?, *length),
            Schema::Struct { name, fields } => {
                let fields = self.fields(fields, open)?;
                let shape = Shape::of(&fields);
                Node::Struct { name: name.clone(), fields, shape }
            }
            Schema::Enum { name, variants } => Node::Enum { name: name.clone(), variants: self.fields(variants, open)? },
            Schema::Opaque(name) => return Err(format!("`{name}` could not be described when it was stored")),
            scalar => Node::Scalar(scalar.clone()),
        };
        if let Schema::Struct { .. } | Schema::Enum { .. } = schema {
            open.pop();
        }
        Ok(at)
    }

    fn fields<'s>(
        &mut self,
        fields: &'s [(String, Schema)],
        open: &mut Vec<(&'s str, &'s Schema, usize)>,
    ) -> Result<Vec<Field>, String> {
        fields.iter().map(|(name, field)| Ok((name.clone(), self.add(field, open)?))).collect()
    }

    /// A part for people: structs and enums by their names alone.
    pub(super) fn show(&self, at: usize) -> String {
        match self.node(at) {
            Node::Scalar(schema) => schema.to_string(),
            Node::Option(value) => format!("option<{}>", self.show(*value)),
            Node::Seq(element) => format!("[{}]", self.show(*element)),
            Node::Map(key, value) => format!("map<{}, {}>", self.show(*key), self.show(*value)),
            Node::Tuple(fields) => {
                let fields: Vec<String> = fields.iter().map(|(_, field)| self.show(*field)).collect();
                format!("({})", fields.join(", "))
            }
            Node::Array(element, length) => format!("[{}; {length}]", self.show(*element)),
            Node::Struct { name, .. } => format!("`{name}`"),
            Node::Enum { name, .. } => format!("enum `{name}`"),
        }
    }
}

impl Shape {
    fn of(fields: &[Field]) -> Self {
        let numbered = fields.iter().enumerate().all(|(i, (name, _))| *name == i.to_string());
        match fields.len() {
            0 => Self::Unit,
            1 if numbered => Self::Newtype,
            _ if numbered => Self::Tuple,
            _ => Self::Named,
        }
    }

    /// Whether fields are known by their places.
    pub(super) fn is_positional(self) -> bool {
        matches!(self, Self::Newtype | Self::Tuple)
    }
}
