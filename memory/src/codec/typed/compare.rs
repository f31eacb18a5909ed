//! Whether values of one schema can be read as those of another.

use super::Schema;
use super::layout::{Layout, Node, Shape};
use std::collections::HashSet;

/// Whether the bytes of `stored` are those of `now`, part by part.
///
/// # Errors
/// A part that is another one now, by its place.
pub(super) fn compare(stored: &Layout, now: &Layout) -> Result<bool, String> {
    let mut comparison = Comparison { stored, now, seen: HashSet::new(), same: true, path: Vec::new() };
    comparison.parts(0, 0)?;
    Ok(comparison.same)
}

struct Comparison<'a> {
    stored: &'a Layout,
    now: &'a Layout,
    /// Parts that have been compared, or are being, further up.
    seen: HashSet<(usize, usize)>,
    same: bool,
    path: Vec<&'a str>,
}

impl<'a> Comparison<'a> {
    fn parts(&mut self, stored: usize, now: usize) -> Result<(), String> {
        if !self.seen.insert((stored, now)) {
            return Ok(());
        }
        let layouts = (self.stored, self.now);
        match (layouts.0.node(stored), layouts.1.node(now)) {
            (Node::Scalar(a), Node::Scalar(b)) if a == b => Ok(()),
            (Node::Option(a), Node::Option(b)) => self.parts(*a, *b),
            (Node::Seq(a), Node::Seq(b)) => self.parts(*a, *b),
            (Node::Map(key, value), Node::Map(other_key, other_value)) => {
                self.parts(*key, *other_key)?;
                self.parts(*value, *other_value)
            }
            (Node::Array(a, length), Node::Array(b, other)) if length == other => self.parts(*a, *b),
            (Node::Tuple(a), Node::Tuple(b)) if a.len() == b.len() => {
                a.iter().zip(b).try_for_each(|((name, a), (_, b))| self.field(name, *a, *b))
            }
            (Node::Tuple(a), Node::Array(b, length)) if a.len() == *length => {
                a.iter().try_for_each(|(name, a)| self.field(name, *a, *b))
            }
            (Node::Array(a, length), Node::Tuple(b)) if b.len() == *length => {
                b.iter().try_for_each(|(name, b)| self.field(name, *a, *b))
            }
            (Node::Struct { fields: a, shape, .. }, Node::Struct { fields: b, shape: other, .. }) => {
                self.same &= a.len() == b.len();
                match (shape, other) {
                    // Whatever is added or removed, serde says whether it may be.
                    (Shape::Unit, _) | (_, Shape::Unit) => Ok(()),
                    (Shape::Named, Shape::Named) => self.named(a, b),
                    _ if shape.is_positional() && other.is_positional() && a.len() <= b.len() => {
                        a.iter().zip(b).try_for_each(|((name, a), (_, b))| self.field(name, *a, *b))
                    }
                    _ => Err(self.differs(stored, now)),
                }
            }
            (Node::Enum { variants: a, .. }, Node::Enum { name, variants: b }) => {
                for (index, (variant, content)) in a.iter().enumerate() {
                    let Some(place) = b.iter().position(|(other, _)| other == variant) else {
                        return Err(format!("{}variant `{variant}` of `{name}` is stored, and there is none now", self.place()));
                    };
                    self.same &= place == index;
                    self.variant(variant, *content, b[place].1)?;
                }
                Ok(())
            }
            _ => Err(self.differs(stored, now)),
        }
    }

    fn named(&mut self, stored: &'a [(String, usize)], now: &'a [(String, usize)]) -> Result<(), String> {
        for (index, (name, part)) in stored.iter().enumerate() {
            match now.iter().position(|(other, _)| other == name) {
                Some(place) => {
                    self.same &= place == index;
                    self.field(name, *part, now[place].1)?;
                }
                None => self.same = false,
            }
        }
        Ok(())
    }

    /// A variant without fields may have got some that have defaults.
    fn variant(&mut self, name: &'a str, stored: usize, now: usize) -> Result<(), String> {
        match (self.stored.node(stored), self.now.node(now)) {
            (Node::Scalar(Schema::Unit), Node::Struct { shape: Shape::Named | Shape::Unit, .. }) => {
                self.same = false;
                Ok(())
            }
            _ => self.field(name, stored, now),
        }
    }

    fn field(&mut self, name: &'a str, stored: usize, now: usize) -> Result<(), String> {
        self.path.push(name);
        self.parts(stored, now)?;
        self.path.pop();
        Ok(())
    }

    fn place(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!("in `{}`: ", self.path.join(".")) }
    }

    #[cold]
    fn differs(&self, stored: usize, now: usize) -> String {
        let (stored, now) = (self.stored.show(stored), self.now.show(now));
        let fields = if stored == now { ", with other fields" } else { "" };
        format!("{}stored as {stored}, now {now}{fields}", self.place())
    }
}
