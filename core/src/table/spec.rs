//! The short texts by which columns are named: `l_shipdate, l_orderkey desc nulls first`, `sum(l_quantity) as q`.
//!
//! Not an expression language: a list of column names with a word or two beside each. Names with blanks, commas or
//! parentheses are written in double quotes, `""` inside for one quote.

use crate::{Error, Result};

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
/// [`Error::Plan`] with the text, where it is wrong and what was expected.
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
/// [`Error::Plan`] with the text, where it is wrong and what was expected.
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
/// [`Error::Plan`] with the text, where it is wrong and what was expected.
pub fn parse_columns(text: &str) -> Result<Vec<String>> {
    list(text, "a column name", name)
}

/// Parses `l = r, l2 = r2` (or with `and` between).
///
/// # Errors
/// [`Error::Plan`] with the text, where it is wrong and what was expected.
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
/// [`Error::Plan`] with the text, where it is wrong and what was expected.
pub fn parse_aggregates(text: &str) -> Result<Vec<AggregateSpec>> {
    list(text, "sum, count, count(distinct ..), min, max or avg of a column in parentheses, then `as` and a name", |tokens| {
        let Some(Token::Word(function)) = tokens.peek() else { return None };
        let mut function = match function.to_ascii_lowercase().as_str() {
            "sum" => Function::Sum,
            "count" => Function::Count,
            "min" => Function::Min,
            "max" => Function::Max,
            "avg" | "mean" => Function::Avg,
            _ => return None,
        };
        tokens.at += 1;
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

/// The tokens of a text with the characters at which they begin, and the one that is looked at.
struct Tokens {
    tokens: Vec<(usize, Token)>,
    at: usize,
    characters: usize,
}

impl Tokens {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next_if(&mut self, wanted: impl Fn(&Token) -> bool) -> Option<Token> {
        let token = self.peek().filter(|token| wanted(token)).cloned()?;
        self.at += 1;
        Some(token)
    }

    /// What is looked at and where, for a message.
    fn here(&self) -> (usize, String) {
        match self.tokens.get(self.at) {
            Some((at, Token::Word(text) | Token::Quoted(text))) => (*at, format!("`{text}`")),
            Some((at, Token::Symbol(symbol))) => (*at, format!("`{symbol}`")),
            None => (self.characters, "the end".to_owned()),
        }
    }
}

fn list<T>(text: &str, expected: &str, mut item: impl FnMut(&mut Tokens) -> Option<T>) -> Result<Vec<T>> {
    let wrong =
        |(at, found): (usize, String)| Error::Plan(format!("`{text}`, character {}: expected {expected}, found {found}", at + 1));
    let mut tokens = tokenize(text).map_err(|at| wrong((at, "a quote that is not closed".to_owned())))?;
    let mut items = Vec::new();
    loop {
        items.push(item(&mut tokens).ok_or_else(|| wrong(tokens.here()))?);
        match tokens.peek() {
            None => return Ok(items),
            Some(Token::Symbol(',')) => {}
            Some(Token::Word(w)) if w.eq_ignore_ascii_case("and") => {}
            Some(_) => return Err(wrong(tokens.here())),
        }
        tokens.at += 1;
    }
}

/// # Errors
/// Where a quote opens that is not closed.
fn tokenize(text: &str) -> std::result::Result<Tokens, usize> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            ',' | '(' | ')' | '*' | '=' => tokens.push((at, Token::Symbol(c))),
            '"' => {
                let mut quoted = String::new();
                loop {
                    match chars.next().ok_or(at)?.1 {
                        '"' if chars.next_if(|(_, c)| *c == '"').is_some() => quoted.push('"'),
                        '"' => break,
                        c => quoted.push(c),
                    }
                }
                tokens.push((at, Token::Quoted(quoted)));
            }
            c => {
                let mut word = String::from(c);
                let of_word = |c: char| !c.is_whitespace() && !matches!(c, ',' | '(' | ')' | '*' | '=' | '"');
                while let Some((_, next)) = chars.next_if(|(_, c)| of_word(*c)) {
                    word.push(next);
                }
                tokens.push((at, Token::Word(word)));
            }
        }
    }
    Ok(Tokens { tokens, at: 0, characters: text.chars().count() })
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
    tokens.next_if(|t| *t == Token::Symbol(expected)).is_some()
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
        assert!(
            error.contains("`a, b nulls sideways`")
                && error.contains("character 12: expected a column name")
                && error.ends_with("found `sideways`"),
            "{error}"
        );
        for (text, at, found) in
            [("", 1, "the end"), ("a,", 3, "the end"), ("ä, \"b", 4, "a quote that is not closed"), ("a = b", 3, "`=`")]
        {
            let error = parse_sort_keys(text).unwrap_err().to_string();
            assert!(error.contains(&format!("character {at}: ")) && error.ends_with(&format!("found {found}")), "{error}");
        }
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
        let wrong =
            [("median(x)", 1), ("sum(*)", 5), ("sum x", 5), ("sum(x", 6), ("count(*) as", 12), ("sum(x) y", 8), ("sum(x), x", 9)];
        for (text, at) in wrong {
            let error = parse_aggregates(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`, character {at}: expected ")), "{error}");
        }
    }

    #[test]
    fn join_conditions() {
        let on = parse_join_on("l_orderkey = o_orderkey and k").unwrap();
        assert_eq!(on, [("l_orderkey".into(), "o_orderkey".into()), ("k".into(), "k".into())]);
    }
}
