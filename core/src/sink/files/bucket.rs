//! Which bucket a record belongs to.

use crate::{Error, Result};
use chrono::format::{Item, Numeric, StrftimeItems};
use chrono::{DateTime, Utc};
use std::fmt::Write;
use std::path::{Component, Path};
use std::sync::Arc;

/// Writes a record's bucket.
pub(super) type BucketFn<T> = Arc<dyn Fn(&T, &mut String) + Send + Sync>;

/// One level of folders.
#[derive(Clone)]
pub(super) enum Level<T> {
    /// What a function of the record gives.
    Function(BucketFn<T>),
    /// A pattern of event time.
    Time(TimePattern),
}

/// The levels of a sink, and the name they give for the record in hand.
pub(super) struct Buckets<T> {
    levels: Vec<Level<T>>,
    name: String,
}

impl<T> Buckets<T> {
    pub(super) fn new(levels: Vec<Level<T>>) -> Self {
        Self { levels, name: String::new() }
    }

    /// The bucket of a record with this event time; the sink's folder itself if there are no levels.
    #[inline]
    pub(super) fn of(&mut self, record: &T, time: i64) -> Result<&str> {
        self.name.clear();
        for level in &mut self.levels {
            if !self.name.is_empty() {
                self.name.push('/');
            }
            match level {
                Level::Function(f) => f(record, &mut self.name),
                Level::Time(pattern) => self.name.push_str(pattern.format(time)?),
            }
        }
        Ok(&self.name)
    }
}

/// A pattern of event time, in UTC. What it gives is kept for the longest span in which it stays the same.
#[derive(Clone)]
pub(super) struct TimePattern {
    items: Vec<Item<'static>>,
    /// Milliseconds in which the text does not change; spans begin at multiples of it.
    span: i64,
    /// The span that `text` is of.
    current: Option<i64>,
    text: String,
}

impl TimePattern {
    /// # Errors
    /// [`Error::Plan`] for a pattern that chrono does not know.
    pub(super) fn new(pattern: &str) -> Result<Self> {
        let items = StrftimeItems::new(pattern)
            .parse_to_owned()
            .map_err(|_| Error::Plan(format!("bucket `{pattern}`: expected a pattern of time such as %Y-%m-%d/%H")))?;
        let span = items.iter().map(span).min().unwrap_or(DAY);
        Ok(Self { items, span, current: None, text: String::new() })
    }

    fn format(&mut self, time: i64) -> Result<&str> {
        let current = Some(time.div_euclid(self.span));
        if self.current != current {
            if time == i64::MIN {
                return Err(Error::User("a record has no event time, which its bucket is made of".into()));
            }
            let out_of_range = || Error::User(format!("no bucket for the event time {time} ms: not a date"));
            let date: DateTime<Utc> = DateTime::from_timestamp_millis(time).ok_or_else(out_of_range)?;
            self.text.clear();
            write!(self.text, "{}", date.format_with_items(self.items.iter())).map_err(|_| out_of_range())?;
            self.current = current;
        }
        Ok(&self.text)
    }
}

const DAY: i64 = 86_400_000;

/// How long a part of a pattern stays the same, at least.
fn span(item: &Item<'_>) -> i64 {
    use Numeric::*;
    match item {
        Item::Literal(_) | Item::OwnedLiteral(_) | Item::Space(_) | Item::OwnedSpace(_) => DAY,
        Item::Numeric(
            Year | YearDiv100 | YearMod100 | IsoYear | IsoYearDiv100 | IsoYearMod100 | Month | Day | WeekFromSun | WeekFromMon
            | IsoWeek | NumDaysFromSun | WeekdayFromMon | Ordinal,
            _,
        ) => DAY,
        Item::Numeric(Hour | Hour12, _) => 3_600_000,
        Item::Numeric(Minute, _) => 60_000,
        _ => 1,
    }
}

/// # Errors
/// [`Error::User`] for a bucket that is not a folder within that of the sink.
pub(super) fn check(bucket: &str) -> Result<()> {
    let inside = Path::new(bucket).components().all(|c| matches!(c, Component::Normal(_)));
    if inside && !bucket.contains('\0') {
        return Ok(());
    }
    Err(Error::User(format!("bucket {bucket:?}: expected a relative path without `.` and `..`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_what_would_be_formatted(
            times in prop::collection::vec(-4_000_000_000_000i64..8_000_000_000_000, 1..50),
            steps in prop::collection::vec(-2000i64..2000, 1..50),
            pattern in prop::sample::select(vec!["%Y-%m-%d/%H", "%Y%m%d", "%H:%M", "%F %T%.3f", "hour=%I%p", "%j", "all", "%s"]),
        ) {
            let mut kept = TimePattern::new(pattern).unwrap();
            for time in times {
                for step in &steps {
                    let time = time + step;
                    let expected = DateTime::from_timestamp_millis(time).unwrap().format(pattern).to_string();
                    prop_assert_eq!(kept.format(time).unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_time_is_an_error() {
        assert!(matches!(TimePattern::new("%Q"), Err(Error::Plan(m)) if m.contains("%Q")));
        let mut hours = TimePattern::new("%H").unwrap();
        assert!(hours.format(i64::MIN).unwrap_err().to_string().contains("no event time"));
        assert!(hours.format(i64::MAX).unwrap_err().to_string().contains("9223372036854775807"));
    }

    #[test]
    fn buckets_stay_inside_the_folder() {
        for inside in ["", "a", "a/b", "zone=4", ".hidden"] {
            check(inside).unwrap();
        }
        for outside in ["..", "/", "/a", "a/../b", "./a", "a\0"] {
            assert!(check(outside).is_err(), "{outside}");
        }
    }
}
