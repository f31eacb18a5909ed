//! The short texts by which columns are named: `l_shipdate, l_orderkey desc nulls first`, `sum(l_quantity) as q`.
//!
//! Not an expression language: a list of column names with a word or two beside each. Names with blanks, commas or
//! parentheses are written in double quotes, `""` inside for one quote.

use crate::{Error, Result};
use std::iter::Peekable;
use std::vec::IntoIter;

/// One column of an ordering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// The column.
    pub column: String,
    /// Largest first.
    pub descending: bool,
    /// Nulls before all values; otherwise after them, whatever the direction.
    pub nulls_first: bool,
}

/// A column to keep, and its new name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    /// The column.
    pub column: String,
    /// What it is called in the result.
    pub name: String,
}

/// What an aggregate computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Sum of the values that are not null; null if there are none.
    Sum,
    /// Rows, or values that are not null.
    Count,
    /// Distinct values that are not null.
    CountDistinct,
    /// Smallest value that is not null.
    Min,
    /// Largest value that is not null.
    Max,
    /// Mean of the values that are not null.
    Avg,
}

/// One aggregate of a grouping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateSpec {
    /// What it computes.
    pub function: Function,
    /// Over which column; `None` for `count(*)`.
    pub column: Option<String>,
    /// What it is called in the result.
    pub name: String,
}

/// Parses `a, b desc, c asc nulls first`.
///
/// # Errors
/// [`Error::Plan`] with the text and what was expected.
pub fn parse_sort_keys(text: &str) -> Result<Vec<SortKey>> {
    list(text, "a column name, then `asc` or `desc`, then `nulls first` or `nulls last`", |tokens| {
        let column = name(tokens)?;
        let descending = word(tokens, "desc");
        if !descending {
            word(tokens, "asc");
        }
        let nulls_first = word(tokens, "nulls") && {
            let first = word(tokens, "first");
            if !first && !word(tokens, "last") {
                return None;
            }
            first
        };
        Some(SortKey { column, descending, nulls_first })
    })
}

/// Parses `a, b as c`.
///
/// # Errors
/// [`Error::Plan`] with the text and what was expected.
pub fn parse_projection(text: &str) -> Result<Vec<Projection>> {
    list(text, "a column name, then `as` and a new name if it is to have one", |tokens| {
        let column = name(tokens)?;
        let name = if word(tokens, "as") { name(tokens)? } else { column.clone() };
        Some(Projection { column, name })
    })
}

/// Parses `a, b, c`.
///
/// # Errors
/// [`Error::Plan`] with the text and what was expected.
pub fn parse_columns(text: &str) -> Result<Vec<String>> {
    list(text, "a column name", name)
}

/// Parses `l = r, l2 = r2` (or with `and` between).
///
/// # Errors
/// [`Error::Plan`] with the text and what was expected.
pub fn parse_join_on(text: &str) -> Result<Vec<(String, String)>> {
    list(text, "LEFT_COLUMN = RIGHT_COLUMN, or one name that both have", |tokens| {
        let left = name(tokens)?;
        let right = if symbol(tokens, '=') { name(tokens)? } else { left.clone() };
        Some((left, right))
    })
}

/// Parses `sum(a) as s, count(*), count(distinct b) as n`.
///
/// # Errors
/// [`Error::Plan`] with the text and what was expected.
pub fn parse_aggregates(text: &str) -> Result<Vec<AggregateSpec>> {
    list(text, "sum, count, count(distinct ..), min, max or avg of a column in parentheses, then `as` and a name", |tokens| {
        let mut function = match name(tokens)?.to_ascii_lowercase().as_str() {
            "sum" => Function::Sum,
            "count" => Function::Count,
            "min" => Function::Min,
            "max" => Function::Max,
            "avg" | "mean" => Function::Avg,
            _ => return None,
        };
        symbol(tokens, '(').then_some(())?;
        let column = if function == Function::Count && symbol(tokens, '*') {
            None
        } else {
            if function == Function::Count && word(tokens, "distinct") {
                function = Function::CountDistinct;
            }
            Some(name(tokens)?)
        };
        symbol(tokens, ')').then_some(())?;
        let name = if word(tokens, "as") { name(tokens)? } else { default_name(function, column.as_deref()) };
        Some(AggregateSpec { function, column, name })
    })
}

fn default_name(function: Function, column: Option<&str>) -> String {
    match (function, column) {
        (Function::CountDistinct, Some(c)) => format!("count(distinct {c})"),
        (f, c) => format!("{}({})", format!("{f:?}").to_lowercase(), c.unwrap_or("*")),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Symbol(char),
}

type Tokens = Peekable<IntoIter<Token>>;

fn list<T>(text: &str, expected: &str, mut item: impl FnMut(&mut Tokens) -> Option<T>) -> Result<Vec<T>> {
    let wrong = |at: &str| Error::Plan(format!("`{text}`: expected {expected}, found {at}"));
    let mut tokens = tokenize(text).ok_or_else(|| wrong("a quote that is not closed"))?.into_iter().peekable();
    let mut items = Vec::new();
    loop {
        let rest = show(&tokens);
        items.push(item(&mut tokens).ok_or_else(|| wrong(&rest))?);
        match tokens.next() {
            None => return Ok(items),
            Some(Token::Symbol(',')) => {}
            Some(Token::Word(w)) if w.eq_ignore_ascii_case("and") => {}
            Some(_) => return Err(wrong(&rest)),
        }
    }
}

fn show(tokens: &Tokens) -> String {
    let words: Vec<String> = tokens
        .clone()
        .map(|t| match t {
            Token::Word(w) | Token::Quoted(w) => w,
            Token::Symbol(c) => c.to_string(),
        })
        .collect();
    if words.is_empty() { "the end".to_owned() } else { format!("`{}`", words.join(" ")) }
}

fn tokenize(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            ',' | '(' | ')' | '*' | '=' => tokens.push(Token::Symbol(c)),
            '"' => {
                let mut quoted = String::new();
                loop {
                    match chars.next()? {
                        '"' if chars.peek() == Some(&'"') => {
                            chars.next();
                            quoted.push('"');
                        }
                        '"' => break,
                        c => quoted.push(c),
                    }
                }
                tokens.push(Token::Quoted(quoted));
            }
            c => {
                let mut word = String::from(c);
                while let Some(&next) = chars.peek() {
                    if next.is_whitespace() || matches!(next, ',' | '(' | ')' | '*' | '=' | '"') {
                        break;
                    }
                    word.push(next);
                    chars.next();
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Some(tokens)
}

fn name(tokens: &mut Tokens) -> Option<String> {
    match tokens.next_if(|t| !matches!(t, Token::Symbol(_)))? {
        Token::Word(w) | Token::Quoted(w) => Some(w),
        Token::Symbol(_) => None,
    }
}

fn word(tokens: &mut Tokens, expected: &str) -> bool {
    tokens.next_if(|t| matches!(t, Token::Word(w) if w.eq_ignore_ascii_case(expected))).is_some()
}

fn symbol(tokens: &mut Tokens, expected: char) -> bool {
    tokens.next_if_eq(&Token::Symbol(expected)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orderings() {
        let keys = parse_sort_keys("l_shipdate, l_orderkey desc nulls first,\"odd, name\" ASC").unwrap();
        let key = |c: &str, descending, nulls_first| SortKey { column: c.into(), descending, nulls_first };
        assert_eq!(keys, [key("l_shipdate", false, false), key("l_orderkey", true, true), key("odd, name", false, false)]);
        let error = parse_sort_keys("a, b nulls sideways").unwrap_err().to_string();
        assert!(error.contains("`a, b nulls sideways`") && error.contains("found `b nulls sideways`"), "{error}");
        assert!(parse_sort_keys("").unwrap_err().to_string().contains("found the end"));
    }

    #[test]
    fn aggregates() {
        let parsed = parse_aggregates("sum(l_quantity) as q, count(*) as n, count(distinct x), max(\"a b\")").unwrap();
        let names: Vec<_> = parsed.iter().map(|a| (a.function, a.column.as_deref(), a.name.as_str())).collect();
        assert_eq!(
            names,
            [
                (Function::Sum, Some("l_quantity"), "q"),
                (Function::Count, None, "n"),
                (Function::CountDistinct, Some("x"), "count(distinct x)"),
                (Function::Max, Some("a b"), "max(a b)")
            ]
        );
        for wrong in ["median(x)", "sum(*)", "sum x", "sum(x", "count(*) as", "sum(x) y"] {
            assert!(parse_aggregates(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn join_conditions() {
        let on = parse_join_on("l_orderkey = o_orderkey and k").unwrap();
        assert_eq!(on, [("l_orderkey".into(), "o_orderkey".into()), ("k".into(), "k".into())]);
    }
}
