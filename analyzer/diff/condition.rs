//! Conditions under which a comparison fails, such as `runqlat[comm=nginx].p99 > +20%`.
//!
//! They are written as those of `record --trigger` are: a name, an operator and a value in the name's unit. The name is a
//! report's column, with the keys of the rows in brackets. A value with a sign is a change, one without is what the
//! number may not be after it.

use std::str::FromStr;

use bytesize::ByteSize;
use lookback_schemas::condition::{Operator, split};

use super::comparison::Line;
use super::measured::{Layout, Unit};
use crate::render::Value;
use crate::window::length;

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What the user wrote.
    pub text: String,
    /// The report, as `tcp rtt`.
    pub report: String,
    /// Which rows: columns with what they read.
    pub keys: Vec<(String, String)>,
    /// Which number.
    pub column: String,
    operator: Operator,
    threshold: Threshold,
}

/// What a number is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Threshold {
    /// The number itself, after.
    After(Amount),
    /// Its change.
    Change(Amount),
    /// Its change in percent.
    Percent(f64),
}

/// A number, and what it counts if that is said.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Amount {
    number: f64,
    unit: Option<Unit>,
}

const FORM: &str = "expected a condition such as `runqlat.p99 > +20%`, `runqlat[comm=nginx].p99 > 5ms` or \
                    `syscalls.errors > 0`";

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        let (name, operator, value) = split(text).ok_or(FORM)?;
        if matches!(operator, Operator::Equal | Operator::NotEqual) {
            return Err("measured numbers are never equal: take <, <=, > or >=".to_owned());
        }
        // In brackets there may be points; and there is one in p99.9.
        let end = name.find(['.', '[']).ok_or(FORM)?;
        let report = name[..end].split_whitespace().collect::<Vec<_>>().join(" ");
        let (keys, rest) = match name[end..].strip_prefix('[') {
            None => (Vec::new(), &name[end..]),
            Some(inner) => {
                let (inner, rest) = bracketed(inner)?;
                (keys(inner)?, rest)
            }
        };
        let column = rest.strip_prefix('.').ok_or(FORM)?.trim();
        if report.is_empty() || column.is_empty() {
            return Err(FORM.to_owned());
        }
        let (text, column) = (text.to_owned(), column.to_owned());
        Ok(Condition { text, report, keys, column, operator, threshold: threshold(value)? })
    }
}

/// What is before the closing bracket, and what behind it.
fn bracketed(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            ']' if !quoted => return Ok((&text[..at], &text[at + 1..])),
            _other => {}
        }
    }
    Err("a closing bracket is missing".to_owned())
}

/// The pairs of a column and what it reads, between commas.
fn keys(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut quoted = false;
    let parts = text.split(|letter: char| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').ok_or_else(|| {
            format!("`{part}`: expected what the rows have in common, such as [comm=nginx]")
        })?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Ok((name.trim().to_owned(), bare.unwrap_or(value).to_owned()))
    };
    parts.map(pair).collect()
}

fn threshold(text: &str) -> Result<Threshold, String> {
    let (sign, size) = match text.split_at_checked(1) {
        Some(("+", size)) => (Some(1.0), size),
        Some(("-", size)) => (Some(-1.0), size),
        Some(_) | None => (None, text),
    };
    if let Some(percent) = size.strip_suffix('%') {
        let number: f64 = decimal(percent.trim())
            .ok_or_else(|| format!("expected a percentage such as +20%, not `{text}`"))?;
        return Ok(match sign {
            Some(sign) => Threshold::Percent(sign * number),
            None => Threshold::After(Amount { number, unit: Some(Unit::Percent) }),
        });
    }
    let plain = size.strip_suffix("/s").unwrap_or(size).trim();
    let amount = if let Some(number) = decimal(plain) {
        Amount { number, unit: None }
    } else if let Ok(ns) = length(plain) {
        Amount { number: ns as f64, unit: Some(Unit::Time) }
    } else if let Ok(bytes) = plain.parse::<ByteSize>() {
        Amount { number: bytes.as_u64() as f64, unit: Some(Unit::Bytes) }
    } else {
        return Err(format!(
            "expected a value such as 5ms, 64KiB, 100, +20% or +3ms, not `{text}`"
        ));
    };
    Ok(match sign {
        Some(sign) => Threshold::Change(Amount { number: sign * amount.number, ..amount }),
        None => Threshold::After(amount),
    })
}

fn decimal(text: &str) -> Option<f64> {
    let digits = text.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    text.parse().ok().filter(|_| digits)
}

impl Condition {
    /// Whether a report has its column and its keys.
    #[must_use]
    pub fn fits(&self, layout: &Layout) -> bool {
        let has_key = |name: &str| layout.keys.iter().any(|key| key.name() == Some(name));
        self.keys.iter().all(|(name, _)| has_key(name))
            && layout.measures.iter().any(|measure| measure.name == self.column)
    }

    /// Whether a line is about its rows and its number.
    #[must_use]
    pub fn concerns(&self, layout: &Layout, line: &Line) -> bool {
        self.column == line.measure.name
            && self.keys.iter().all(|(name, wanted)| {
                std::iter::zip(&layout.keys, &line.keys)
                    .any(|(key, value)| key.name() == Some(name) && reads(value) == *wanted)
            })
    }

    /// Whether its value can be compared with numbers of the unit.
    ///
    /// # Errors
    /// Says how to write it instead.
    pub fn check(&self, unit: Unit) -> Result<(), String> {
        let amount = match self.threshold {
            Threshold::Percent(_) => return Ok(()),
            Threshold::After(amount) | Threshold::Change(amount) => amount,
        };
        let example = match unit {
            Unit::Number => "100",
            Unit::Time => "5ms",
            Unit::Bytes => "64KiB",
            Unit::Percent => "20%",
        };
        match amount.unit {
            None if amount.number == 0.0 || unit == Unit::Number => Ok(()),
            Some(given) if given == unit => Ok(()),
            Some(Unit::Percent) => Err("a change in percent has a sign: +20%".to_owned()),
            Some(_) | None => Err(format!("its value is written as {example} or +{example}")),
        }
    }

    /// Whether the line meets it; `None` where that is unknown.
    #[must_use]
    pub fn is_met(&self, line: &Line) -> Option<bool> {
        let (number, threshold) = match self.threshold {
            Threshold::After(amount) => (line.after?, amount.number),
            Threshold::Change(amount) => (line.change()?, amount.number),
            Threshold::Percent(percent) => (line.percent()?, percent),
        };
        Some(match self.operator {
            Operator::Greater => number > threshold,
            Operator::GreaterOrEqual => number >= threshold,
            Operator::Less => number < threshold,
            Operator::LessOrEqual => number <= threshold,
            Operator::Equal => number == threshold,
            Operator::NotEqual => number != threshold,
        })
    }
}

/// A key as a condition spells it.
#[must_use]
pub fn reads(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Texts(texts) => texts.join(" "),
        Value::Ints(numbers) => numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" "),
        Value::Named(_, name) => name.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Duration(number)
        | Value::Seconds(number)
        | Value::Millis(number)
        | Value::Micros(number)
        | Value::Time(number)
        | Value::Clock(number)
        | Value::Bytes(number)
        | Value::Kibibytes(number)
        | Value::Hex(number) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::measured::Measure;
    use super::*;
    use crate::render::Role;

    fn condition(text: &str) -> Condition {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn line(unit: Unit, before: Option<f64>, after: Option<f64>) -> Line {
        let measure = Measure { name: "p99", role: Role::Percentile, unit };
        Line { keys: Vec::new(), measure, before, after, beyond: None }
    }

    #[test]
    fn names_have_a_report_keys_and_a_column() {
        let plain = condition("runqlat.p99.9 > +20%");
        assert_eq!((plain.report.as_str(), plain.column.as_str()), ("runqlat", "p99.9"));
        let keyed = condition("tcp  rtt[raddr=10.0.0.1, comm=\"a, [b]\"].p50 <= -3ms");
        assert_eq!((keyed.report.as_str(), keyed.column.as_str()), ("tcp rtt", "p50"));
        let keys: Vec<(&str, &str)> =
            keyed.keys.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(keys, [("raddr", "10.0.0.1"), ("comm", "a, [b]")]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("", "expected a condition such as"),
            ("runqlat.p99", "expected a condition such as"),
            ("p99 > 5ms", "expected a condition such as"),
            (".p99 > 5ms", "expected a condition such as"),
            ("runqlat. > 5ms", "expected a condition such as"),
            ("runqlat.p99 == 5ms", "never equal"),
            ("runqlat[comm].p99 > 5ms", "such as [comm=nginx]"),
            ("runqlat[comm=\"a].p99 > 5ms", "expected a condition"),
            ("runqlat.p99 > fast", "expected a value such as"),
            ("runqlat.p99 > +x%", "expected a percentage"),
            ("runqlat.p99 > ++5%", "expected a percentage"),
            ("runqlat.p99 > nan", "expected a value such as"),
        ] {
            let error = text.parse::<Condition>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn values_have_the_unit_of_the_number() {
        for (value, unit, fits) in [
            ("5ms", Unit::Time, true),
            ("+5ms", Unit::Time, true),
            ("0", Unit::Time, true),
            ("5", Unit::Time, false),
            ("5", Unit::Number, true),
            ("5/s", Unit::Number, true),
            ("5ms", Unit::Number, false),
            ("64KiB", Unit::Bytes, true),
            ("64KiB", Unit::Time, false),
            ("20%", Unit::Percent, true),
            ("20%", Unit::Time, false),
            ("+20%", Unit::Bytes, true),
        ] {
            let condition = condition(&format!("r.p99 > {value}"));
            assert_eq!(condition.check(unit).is_ok(), fits, "{value} {unit:?}");
        }
    }

    #[test]
    fn signs_are_changes() {
        let time = |before, after| line(Unit::Time, before, after);
        let ms = |ms: f64| Some(ms * 1e6);
        for (text, line, met) in [
            ("r.p99 > 5ms", time(ms(9.0), ms(5.1)), Some(true)),
            ("r.p99 > 5ms", time(ms(9.0), ms(5.0)), Some(false)),
            ("r.p99 >= 5ms", time(ms(9.0), ms(5.0)), Some(true)),
            ("r.p99 > 5ms", time(None, ms(6.0)), Some(true)),
            ("r.p99 > +3ms", time(ms(9.0), ms(12.1)), Some(true)),
            ("r.p99 > +3ms", time(ms(9.0), ms(11.9)), Some(false)),
            ("r.p99 > +3ms", time(None, ms(11.9)), None),
            ("r.p99 > +10%", time(ms(10.0), ms(11.1)), Some(true)),
            ("r.p99 > +10%", time(ms(10.0), ms(10.9)), Some(false)),
            ("r.p99 < -10%", time(ms(10.0), ms(8.9)), Some(true)),
            ("r.p99 < -10%", time(ms(10.0), ms(12.0)), Some(false)),
            // From nothing, every percentage is exceeded; nothing remains nothing.
            ("r.p99 > +10%", time(Some(0.0), ms(1.0)), Some(true)),
            ("r.p99 > +10%", time(Some(0.0), Some(0.0)), Some(false)),
            ("r.p99 > 0", time(None, None), None),
        ] {
            assert_eq!(condition(text).is_met(&line), met, "{text} {line:?}");
        }
    }
}
