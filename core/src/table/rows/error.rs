use arrow_schema::DataType;
use serde::de::{Expected, Unexpected};
use std::fmt;

/// Why a value does not become what is wanted, and in which column. One pointer wide: results are made for every value.
#[derive(Debug)]
pub(crate) struct ValueError(Box<Place>);

#[derive(Debug)]
struct Place {
    /// Names from the table's column down to the nested field.
    column: String,
    data_type: Option<DataType>,
    message: String,
    /// What was expected, where no value of this type would do.
    expected: Option<String>,
}

impl ValueError {
    /// The error as one of the given column, or of a field nested in it.
    #[cold]
    pub(crate) fn at(mut self, column: &str, data_type: &DataType) -> Self {
        let place = &mut *self.0;
        place.column = if place.column.is_empty() { column.to_owned() } else { format!("{column}.{}", place.column) };
        place.data_type.get_or_insert_with(|| data_type.clone());
        self
    }

    /// Why no value of the column does, rather than this one: what is wrong can be told before there are values.
    pub(super) fn of_type(&self) -> Option<String> {
        let Place { column, data_type, expected, .. } = &*self.0;
        let (expected, data_type) = (expected.as_ref()?, data_type.as_ref()?);
        Some(format!("column `{column}` is {data_type}, expected {expected}"))
    }

    /// Null where there is to be a value.
    #[cold]
    pub(super) fn null(expected: &dyn Expected) -> Self {
        serde::de::Error::invalid_type(Unexpected::Other("null"), expected)
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { column, data_type, message, .. } = &*self.0;
        match data_type {
            Some(data_type) => write!(f, "column `{column}` ({data_type}): {message}"),
            None => f.write_str(message),
        }
    }
}

impl std::error::Error for ValueError {}

impl serde::de::Error for ValueError {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self(Box::new(Place { column: String::new(), data_type: None, message: message.to_string(), expected: None }))
    }

    #[cold]
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let mut error = Self::custom(format_args!("expected {expected}, found {found}"));
        error.0.expected = Some(match found {
            // Not a value, but words of ours that say more than the type.
            Unexpected::Other(found) => format!("{expected}, found {found}"),
            _ => expected.to_string(),
        });
        error
    }

    #[cold]
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {found}"))
    }
}

impl serde::ser::Error for ValueError {
    fn custom<M: fmt::Display>(message: M) -> Self {
        serde::de::Error::custom(message)
    }
}
