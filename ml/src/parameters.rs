//! Hyper-parameters: plain structs whose defaults, ranges and documentation stand in one place, made by [`parameters!`].
//!
//! A learner checks them when it is made, so that no learner runs with a rate of zero. By name they are set from texts
//! (`key=value`), as the command does.

use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// A set of hyper-parameters.
pub trait Parameters: Default + Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned {
    /// The learner that they are of.
    const LEARNER: &'static str;

    /// Sets one by name, from text.
    ///
    /// # Errors
    /// [`Error::Parameter`]: no such parameter (the error names those there are), or not a value of its type.
    fn set(&mut self, name: &str, value: &str) -> Result<()>;

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Parameter`] for the first one out of range.
    fn check(&self) -> Result<()>;

    /// Name, value and meaning of each.
    fn describe(&self) -> Vec<(&'static str, String, &'static str)>;

    /// The defaults with these settings, checked.
    ///
    /// # Errors
    /// As [`Parameters::set`] and [`Parameters::check`].
    fn from_settings<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut parameters = Self::default();
        for (name, value) in settings {
            parameters.set(name, value)?;
        }
        parameters.check()?;
        Ok(parameters)
    }

    /// Name and value of each.
    fn to_map(&self) -> BTreeMap<String, String> {
        self.describe().into_iter().map(|(name, value, _)| (name.to_owned(), value)).collect()
    }
}

/// What a parameter may be.
pub(crate) struct Range<T> {
    pub test: Box<dyn Fn(&T) -> bool>,
    pub text: String,
}

pub(crate) fn above(low: f64) -> Range<f64> {
    Range { test: Box::new(move |v| *v > low && v.is_finite()), text: format!("a number above {low}") }
}

pub(crate) fn not_below(low: f64) -> Range<f64> {
    Range { test: Box::new(move |v| *v >= low && v.is_finite()), text: format!("a number of {low} or more") }
}

/// Both ends included.
pub(crate) fn within(low: f64, high: f64) -> Range<f64> {
    Range { test: Box::new(move |v| (low..=high).contains(v)), text: format!("a number from {low} to {high}") }
}

pub(crate) fn at_least<T: PartialOrd + Display + Copy + 'static>(low: T) -> Range<T> {
    Range { test: Box::new(move |v| *v >= low), text: format!("{low} or more") }
}

pub(crate) fn between<T: PartialOrd + Display + Copy + 'static>(low: T, high: T) -> Range<T> {
    Range { test: Box::new(move |v| (low..=high).contains(v)), text: format!("{low} to {high}") }
}

pub(crate) fn any<T>() -> Range<T> {
    Range { test: Box::new(|_| true), text: String::new() }
}

pub(crate) fn parse<T: FromStr>(learner: &'static str, name: &str, value: &str) -> Result<T> {
    value.trim().parse().map_err(|_| {
        let kind = std::any::type_name::<T>();
        let expected = match kind.rsplit("::").next().unwrap_or(kind) {
            "f64" => "a number".to_owned(),
            "u64" | "usize" | "u32" => "a whole number".to_owned(),
            "bool" => "true or false".to_owned(),
            other => format!("a {}", other.to_lowercase()),
        };
        Error::Parameter { learner, name: name.to_owned(), given: format!("`{value}`"), expected }
    })
}

pub(crate) fn in_range<T: Display>(learner: &'static str, name: &str, value: &T, range: &Range<T>) -> Result<()> {
    if (range.test)(value) {
        return Ok(());
    }
    Err(Error::Parameter { learner, name: name.to_owned(), given: value.to_string(), expected: range.text.clone() })
}

/// Defines a struct of hyper-parameters: `field: type = default, range;`.
macro_rules! parameters {
    ($(#[$doc:meta])* $name:ident of $learner:literal {
        $( #[doc = $field_doc:literal] $field:ident : $type:ty = $default:expr, $range:expr; )*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $( #[doc = $field_doc] #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")] pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::parameters::Parameters for $name {
            const LEARNER: &'static str = $learner;

            fn set(&mut self, name: &str, value: &str) -> $crate::Result<()> {
                match name {
                    $( stringify!($field) => self.$field = $crate::parameters::parse(Self::LEARNER, name, value)?, )*
                    _ => {
                        let known: &[&str] = &[$(stringify!($field)),*];
                        return Err($crate::Error::Parameter {
                            learner: Self::LEARNER,
                            name: name.to_owned(),
                            given: format!("`{value}`"),
                            expected: format!("one of the parameters {}", known.join(", ")),
                        });
                    }
                }
                Ok(())
            }

            fn check(&self) -> $crate::Result<()> {
                $( $crate::parameters::in_range(Self::LEARNER, stringify!($field), &self.$field, &$range)?; )*
                Ok(())
            }

            fn describe(&self) -> Vec<(&'static str, String, &'static str)> {
                vec![$( (stringify!($field), self.$field.to_string(), $field_doc.trim_ascii()) ),*]
            }
        }
    };
}
pub(crate) use parameters;

/// Defines an enum of named choices that reads and prints as its names.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $( #[doc = $variant_doc:literal] $variant:ident = $text:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $( #[doc = $variant_doc] $variant, )*
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> std::result::Result<Self, String> {
                match text {
                    $( $text => Ok(Self::$variant), )*
                    _ => Err(format!("`{text}` is none of {}", [$($text),*].join(", "))),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $( Self::$variant => $text, )* })
            }
        }
    };
}
pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::*;

    parameters! {
        /// For this test.
        Trial of "trial" {
            #[doc = " How fast."] rate: f64 = 0.5, above(0.0);
            #[doc = " How often."] rounds: u64 = 3, at_least(1);
        }
    }

    #[test]
    fn settings_are_parsed_checked_and_named() {
        let trial = Trial::from_settings([("rate", "0.25")]).unwrap();
        assert_eq!(trial, Trial { rate: 0.25, rounds: 3 });
        for (name, value, said) in [
            ("rate", "0", "trial: rate is 0, expected a number above 0"),
            ("rate", "fast", "trial: rate is `fast`, expected a number"),
            ("rounds", "0", "trial: rounds is 0, expected 1 or more"),
            ("speed", "1", "trial: speed is `1`, expected one of the parameters rate, rounds"),
        ] {
            assert_eq!(Trial::from_settings([(name, value)]).unwrap_err().to_string(), said);
        }
        assert_eq!(trial.describe()[1], ("rounds", "3".to_owned(), "How often."));
    }
}
