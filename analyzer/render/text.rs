//! How single values are spelled: text that is safe to print, and times, sizes and counts for people.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Whether the character does more than show itself: control characters of both sets, line separators, the
/// marks that turn the direction of text, and two that are none, which no XML may have. All lie below U+10000.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// The text with every character that could steer a terminal spelled out, as `\x1b` for ESC.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            other if steers(other) && other.is_ascii() => {
                let _ = write!(safe, "\\x{:02x}", u32::from(other));
            }
            other if steers(other) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(other));
            }
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}

/// The numbers, with this between them.
pub fn join(numbers: &[i64], separator: &str) -> String {
    let mut text = String::new();
    for (index, number) in numbers.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        let _ = write!(text, "{number}");
    }
    text
}

/// A number with at most three digits of a fraction; `None` where it is none.
#[must_use]
pub fn real(number: f64) -> Option<String> {
    if !number.is_finite() {
        return None;
    }
    let text = format!("{number:.3}");
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// A moment in nanoseconds since the Unix epoch, in a time zone.
pub fn zoned(ns: i64, zone: &TimeZone) -> jiff::Zoned {
    Timestamp::from_nanosecond(i128::from(ns))
        .expect("every i64 of nanoseconds is within the years that jiff knows")
        .to_zoned(zone.clone())
}

/// The same as RFC 3339 has it, with `digits` of a second.
#[must_use]
pub fn moment(ns: i64, digits: u8, zone: &TimeZone) -> String {
    let time = zoned(ns, zone);
    let end = if *zone == TimeZone::UTC { "Z" } else { "%:z" };
    let fraction = if digits == 0 { String::new() } else { format!("%.{digits}f") };
    time.strftime(&format!("%Y-%m-%dT%H:%M:%S{fraction}{end}")).to_string()
}

/// The moment in UTC, to the millisecond where it is not a whole second.
#[must_use]
pub fn utc(ns: i64) -> String {
    short_moment(ns, &TimeZone::UTC)
}

/// The same in a time zone.
#[must_use]
pub fn short_moment(ns: i64, zone: &TimeZone) -> String {
    let digits = if ns.rem_euclid(1_000_000_000) < 1_000_000 { 0 } else { 3 };
    moment(ns, digits, zone)
}

/// A length of time in nanoseconds as a table shows it, such as `12.3µs`.
#[must_use]
pub fn duration(ns: i64) -> String {
    let value = ns as f64;
    match ns.unsigned_abs() {
        0..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{:.1}µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2}ms", value / 1e6),
        1_000_000_000.. => format!("{:.3}s", value / 1e9),
    }
}

/// A length of time in nanoseconds for a sentence, such as `12.3 s` or `2 h 5 min`.
#[must_use]
pub fn spoken(ns: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    let seconds = ns / SECOND;
    match ns {
        ..SECOND => format!("{} ms", real(ns as f64 / 1e6).unwrap_or_default()),
        SECOND..120_000_000_000 => format!("{:.1} s", ns as f64 / 1e9),
        120_000_000_000..7_200_000_000_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        7_200_000_000_000.. => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A size as a table shows it, such as `1.5KiB`.
#[must_use]
pub fn size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes.unsigned_abs() < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1}{}", UNITS[unit])
}

/// A count with its thousands set apart, such as `1,234`.
#[must_use]
pub fn thousands<N: Into<i128>>(number: N) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_for_people() {
        assert_eq!(duration(999), "999ns");
        assert_eq!(duration(12_345), "12.3µs");
        assert_eq!(duration(-1_500_000_000), "-1.500s");
        assert_eq!(size(1536), "1.5KiB");
        assert_eq!(size(i64::MIN), "-8.0EiB");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(real(f64::NAN), None);
        assert_eq!(real(2.5), Some("2.5".to_owned()));
        assert_eq!(real(100.0), Some("100".to_owned()));
        assert_eq!(utc(1_795_342_500_000_000_000), "2026-11-22T10:15:00Z");
        assert_eq!(spoken(12_300_000_000), "12.3 s");
        // The ends of i64 are years 1677 and 2262.
        assert!(utc(i64::MAX).starts_with("2262-") && utc(i64::MIN).starts_with("1677-"));
    }
}
