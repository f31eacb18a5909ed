use super::super::Failure;
use serde::de;
use std::fmt;

/// Why a value could not be read.
#[derive(Debug)]
pub(in super::super) struct Mismatch {
    /// The fields and variants around the place, the innermost first.
    path: Vec<String>,
    what: String,
    /// Whether any other value of the schema would fail alike.
    pub of_the_type: bool,
}

impl Mismatch {
    #[cold]
    pub(super) fn new(what: String, of_the_type: bool) -> Self {
        Self { path: Vec::new(), what, of_the_type }
    }

    #[cold]
    pub(super) fn inside(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
            write!(f, "in `{}`: ", path.join("."))?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Mismatch {}

impl From<Failure> for Mismatch {
    #[cold]
    fn from(failure: Failure) -> Self {
        Self::new(failure.0, false)
    }
}

impl de::Error for Mismatch {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::new(message.to_string(), false)
    }

    #[cold]
    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("field `{field}` is not stored and has no default (`#[serde(default)]`)"), true)
    }

    #[cold]
    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::new(format!("field `{field}` is stored, and the type denies fields that it does not know"), true)
    }

    #[cold]
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("expected one of the variants {expected:?}, found `{variant}`"), true)
    }

    #[cold]
    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("several stored fields are field `{field}` now"), true)
    }

    #[cold]
    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {expected}, found {found}"), true)
    }
}
