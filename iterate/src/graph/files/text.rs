//! Lines of text to columns of ids and weights.
//!
//! The parser goes over a block byte by byte, once. It knows three things at each place: blank, a number, the end of a line; what
//! it does not know it leaves to [`diagnose`], which looks at the one line again and says what is wrong with it.

use super::HINT;
use super::schema::{IdType, Role};
use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Float64Array, UInt64Array};
use memchr::memchr;
use std::sync::Arc;

/// Bytes of a line, about, to know how large columns become.
const LINE: usize = 12;

/// What the fields of a line are.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) roles: &'static [Role],
    /// Fields of every line, those without a role at its end included.
    pub(super) fields: usize,
    pub(super) ids: IdType,
    /// The line that the number of fields is known from.
    pub(super) first: u64,
}

impl Lines {
    /// The columns of a block of whole lines. The error is the place of a line that has no such fields.
    pub(super) fn columns(&self, block: &str) -> Result<Vec<ArrayRef>, usize> {
        match self.ids {
            IdType::Number => self.numbers(block.as_bytes()),
            IdType::Text => self.texts(block),
        }
    }

    fn numbers(&self, block: &[u8]) -> Result<Vec<ArrayRef>, usize> {
        let weighted = self.roles.contains(&Role::Weight);
        let ids = self.roles.len() - usize::from(weighted);
        let room = block.len() / LINE;
        let mut columns: [Vec<u64>; 2] = [Vec::with_capacity(room), if ids > 1 { Vec::with_capacity(room) } else { Vec::new() }];
        let mut weights: Vec<f64> = if weighted { Vec::with_capacity(room) } else { Vec::new() };
        let mut at = 0;
        while let Some(start) = next_line(block, &mut at) {
            for column in &mut columns[..ids] {
                skip_blanks(block, &mut at);
                column.push(number(block, &mut at).ok_or(start)?);
            }
            if weighted {
                skip_blanks(block, &mut at);
                weights.push(weight(field(block, &mut at)).ok_or(start)?);
            }
            self.rest(block, &mut at).ok_or(start)?;
        }
        let columns = columns.into_iter().take(ids).map(|column| Arc::new(UInt64Array::from(column)) as ArrayRef);
        let weights = weighted.then(|| Arc::new(Float64Array::from(weights)) as ArrayRef);
        Ok(columns.chain(weights).collect())
    }

    fn texts(&self, text: &str) -> Result<Vec<ArrayRef>, usize> {
        let block = text.as_bytes();
        let weighted = self.roles.contains(&Role::Weight);
        let ids = self.roles.len() - usize::from(weighted);
        let room = block.len() / LINE;
        let mut columns: Vec<StringBuilder> = (0..ids).map(|_| StringBuilder::with_capacity(room, block.len() / ids)).collect();
        let mut weights = Vec::new();
        let mut at = 0;
        while let Some(start) = next_line(block, &mut at) {
            for column in &mut columns {
                skip_blanks(block, &mut at);
                let from = at;
                if field(block, &mut at).is_empty() {
                    return Err(start);
                }
                // Blanks are single bytes, so a field begins and ends between characters.
                column.append_value(&text[from..at]);
            }
            if weighted {
                skip_blanks(block, &mut at);
                weights.push(weight(field(block, &mut at)).ok_or(start)?);
            }
            self.rest(block, &mut at).ok_or(start)?;
        }
        let columns = columns.into_iter().map(|mut column| Arc::new(column.finish()) as ArrayRef);
        let weights = weighted.then(|| Arc::new(Float64Array::from(weights)) as ArrayRef);
        Ok(columns.chain(weights).collect())
    }

    /// Passes the fields of a line that are not read, and its end.
    #[inline]
    fn rest(&self, block: &[u8], at: &mut usize) -> Option<()> {
        for _ in self.roles.len()..self.fields {
            skip_blanks(block, at);
            if field(block, at).is_empty() {
                return None;
            }
        }
        skip_blanks(block, at);
        match block.get(*at) {
            Some(b'\n') => *at += 1,
            None => {}
            Some(_) => return None,
        }
        Some(())
    }

    /// What is wrong with a line that [`Lines::columns`] did not take.
    pub(super) fn diagnose(&self, line: &str) -> String {
        let found: Vec<&str> = line.split_ascii_whitespace().collect();
        for (role, field) in self.roles.iter().zip(&found) {
            let shown: String = field.chars().take(60).collect();
            match role {
                Role::Weight if weight(field.as_bytes()).is_none() => {
                    return format!("expected a number as the {role}, found {shown:?}");
                }
                Role::Weight => {}
                _ if self.ids == IdType::Number && field.parse::<u64>().is_err() => {
                    return format!("expected a number from 0 to {} as the {role}, found {shown:?}; {HINT}", u64::MAX);
                }
                _ => {}
            }
        }
        let hint = if self.roles.len() > 1 && found.len() != self.fields { "; lists of neighbours are not read" } else { "" };
        format!("expected {} fields, as in line {}, found {}{hint}", self.fields, self.first, found.len())
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\x0b' | b'\x0c')
}

#[inline]
fn skip_blanks(block: &[u8], at: &mut usize) {
    while block.get(*at).is_some_and(|byte| is_blank(*byte)) {
        *at += 1;
    }
}

/// Moves to the first field of the next line that has one and is not a comment; gives where the line begins.
#[inline]
fn next_line(block: &[u8], at: &mut usize) -> Option<usize> {
    loop {
        let start = *at;
        skip_blanks(block, at);
        match block.get(*at)? {
            b'\n' => *at += 1,
            b'#' | b'%' => *at = memchr(b'\n', &block[*at..]).map_or(block.len(), |end| *at + end + 1),
            _ => return Some(start),
        }
    }
}

/// The bytes to the next blank or the end of the line.
#[inline]
fn field<'a>(block: &'a [u8], at: &mut usize) -> &'a [u8] {
    let start = *at;
    while block.get(*at).is_some_and(|byte| !is_blank(*byte) && *byte != b'\n') {
        *at += 1;
    }
    &block[start..*at]
}

/// A number that ends at a blank or the end of the line.
#[inline]
fn number(block: &[u8], at: &mut usize) -> Option<u64> {
    let start = *at;
    let mut value: u64 = 0;
    while let Some(digit) = block.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        *at += 1;
    }
    let ended = block.get(*at).is_none_or(|byte| *byte == b'\n' || is_blank(*byte));
    match *at - start {
        1..=19 if ended => Some(value),
        20.. if ended => std::str::from_utf8(&block[start..*at]).ok()?.parse().ok(),
        _ => None,
    }
}

/// A weight: any number, also an infinite one, but not NaN.
#[inline]
fn weight(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.parse().ok().filter(|weight: &f64| !weight.is_nan())
}

#[cfg(test)]
mod tests {
    use super::super::schema::{EDGES, VERTICES, WEIGHTED_EDGES};
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, UInt64Type};
    use proptest::prelude::*;

    fn lines(roles: &'static [Role], fields: usize, ids: IdType) -> Lines {
        Lines { roles, fields, ids, first: 1 }
    }

    fn numbers(columns: &[ArrayRef]) -> Vec<Vec<u64>> {
        columns.iter().filter_map(|c| c.as_primitive_opt::<UInt64Type>()).map(|c| c.values().to_vec()).collect()
    }

    fn texts(columns: &[ArrayRef]) -> Vec<Vec<&str>> {
        columns.iter().filter_map(|c| c.as_string_opt::<i32>()).map(|c| c.iter().flatten().collect()).collect()
    }

    #[test]
    fn numbers_between_blanks_and_comments() {
        let text = "1 2\n\n  # c 1\n3\t 4 \r\n%\n18446744073709551615 00000000000000000000000000005";
        let columns = lines(&EDGES, 2, IdType::Number).columns(text).unwrap();
        assert_eq!(numbers(&columns), [[1, 3, u64::MAX], [2, 4, 5]]);
        let columns = lines(&WEIGHTED_EDGES, 4, IdType::Number).columns("1 2 -0.5 x\n3 4 Infinity y").unwrap();
        assert_eq!(columns[2].as_primitive::<Float64Type>().values(), &[-0.5, f64::INFINITY]);
        let columns = lines(&VERTICES, 1, IdType::Number).columns("7\n# c\n8\n").unwrap();
        assert_eq!(numbers(&columns), [[7, 8]]);
    }

    #[test]
    fn texts_of_any_alphabet() {
        let columns = lines(&EDGES, 3, IdType::Text).columns("ann bob 1\nбоб\t日本 2\r\n").unwrap();
        assert_eq!(texts(&columns), [["ann", "боб"], ["bob", "日本"]]);
    }

    #[test]
    fn malformed_lines_are_found_and_described() {
        let cases: [(&'static [Role], usize, IdType, &str, &str); 9] = [
            (
                &EDGES,
                2,
                IdType::Number,
                "x 2",
                "expected a number from 0 to 18446744073709551615 as the source, found \"x\"; ids that",
            ),
            (&EDGES, 2, IdType::Number, "2 -1", "as the target, found \"-1\""),
            (&EDGES, 2, IdType::Number, "2 1a", "as the target, found \"1a\""),
            (&EDGES, 2, IdType::Number, "18446744073709551616 1", "as the source, found \"18446744073709551616\""),
            (&EDGES, 2, IdType::Number, "1", "expected 2 fields, as in line 1, found 1; lists"),
            (&EDGES, 2, IdType::Number, "1 2 3", "expected 2 fields, as in line 1, found 3; lists"),
            (&WEIGHTED_EDGES, 3, IdType::Number, "1 2 heavy", "expected a number as the weight, found \"heavy\""),
            (&WEIGHTED_EDGES, 3, IdType::Text, "a b NaN", "expected a number as the weight, found \"NaN\""),
            (&VERTICES, 1, IdType::Text, "a b", "expected 1 fields, as in line 1, found 2"),
        ];
        for (roles, fields, ids, line, expected) in cases {
            let lines = lines(roles, fields, ids);
            let good = match ids {
                IdType::Number => ["5", "6", "7"][..fields].join(" "),
                IdType::Text => ["a", "b", "7"][..fields].join(" "),
            };
            let text = format!("{good}\n{line}\n{good}\n");
            assert_eq!(lines.columns(&text).unwrap_err(), good.len() + 1, "{line}");
            let message = lines.diagnose(line);
            assert!(message.contains(expected), "{message}");
        }
    }

    proptest! {
        /// Lines that are taken are those that std would take, with the same numbers.
        #[test]
        fn as_the_standard_library_parses(
            fields in prop::collection::vec(prop::collection::vec("[0-9]{1,3}|[0-9]{18,22}|[0-9.e+-]{1,6}|[a-c#%]{1,2}", 1..4), 0..5),
            blank in prop::sample::select(vec![" ", "\t", "  ", " \t"]),
            weighted in any::<bool>(),
            end in prop::sample::select(vec!["\n", "\r\n", " \n"]),
        ) {
            let roles: &'static [Role] = if weighted { &WEIGHTED_EDGES } else { &EDGES };
            let text: String = fields.iter().map(|line| line.join(blank) + end).collect();
            let found = lines(roles, roles.len(), IdType::Number).columns(&text);
            let mut expected = (vec![], vec![], vec![]);
            let all = fields.iter().filter(|line| !line[0].starts_with(['#', '%'])).all(|line| {
                let id = |at: usize| -> Option<u64> {
                    line.get(at).filter(|field| field.bytes().all(|b| b.is_ascii_digit())).and_then(|field| field.parse().ok())
                };
                let weight: Option<f64> = line.get(2).and_then(|field| field.parse().ok());
                if let (Some(source), Some(target), true) = (id(0), id(1), weight.is_some() || !weighted) {
                    expected.0.push(source);
                    expected.1.push(target);
                    expected.2.extend(weight.filter(|_| weighted));
                    line.len() == roles.len()
                } else {
                    false
                }
            });
            prop_assert_eq!(found.is_ok(), all, "{:?}", text);
            if let Ok(columns) = found {
                prop_assert_eq!(numbers(&columns), vec![expected.0, expected.1]);
                if weighted {
                    prop_assert_eq!(columns[2].as_primitive::<Float64Type>().values().to_vec(), expected.2);
                }
            }
        }
    }
}
