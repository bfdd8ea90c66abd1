//! Values as CSV (RFC 4180) and JSON (RFC 8259) have them, for programs: numbers are as they were recorded.
//!
//! Who opens such a file may be a spreadsheet, which calculates, or a terminal, which obeys: neither is given the
//! occasion.

use std::fmt::Write as _;
use std::io::Write;

use lookback_schemas::lines::text::{escaped, join, real, steers};

use super::Value;

/// Writes a line of CSV. A field is quoted where it must be, and where readers disagree.
pub(super) fn csv_line(
    mut sink: impl Write,
    line: &mut String,
    fields: impl Iterator<Item = String>,
) -> anyhow::Result<()> {
    line.clear();
    for (index, field) in fields.enumerate() {
        if index > 0 {
            line.push(',');
        }
        // Where commas stand in numbers, spreadsheets take semicolons between fields.
        if field.contains(['"', ',', ';', '\t', '\n', '\r']) || field.trim().len() != field.len() {
            line.push('"');
            line.push_str(&field.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(&field);
        }
    }
    line.push('\n');
    sink.write_all(line.as_bytes()).map_err(anyhow::Error::from)
}

/// A value as a field of CSV: nothing where it is null, lists as JSON.
pub(super) fn csv_field(value: &Value, terminal: bool) -> String {
    let safe = |text: String| if terminal { escaped(&text).into_owned() } else { text };
    match value {
        Value::Null => String::new(),
        Value::Int(number)
        | Value::Duration(number)
        | Value::Seconds(number)
        | Value::Millis(number)
        | Value::Micros(number)
        | Value::Time(number)
        | Value::Clock(number)
        | Value::Bytes(number)
        | Value::Kibibytes(number)
        | Value::Hex(number)
        | Value::Named(number, _) => number.to_string(),
        Value::Real(number) => real(*number).unwrap_or_default(),
        Value::Text(text) => inert(safe(text.clone())),
        Value::Texts(_) | Value::Ints(_) => {
            let mut list = String::new();
            json(value, &mut list);
            list
        }
        Value::Flag(flag) => flag.to_string(),
    }
}

/// A text that a spreadsheet does not calculate: with an apostrophe before what would begin a formula, which
/// can start programs and send what else is in the sheet away (CWE-1236). JSON has the text as it is.
fn inert(text: String) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text,
    }
}

/// Appends the value as JSON.
pub(crate) fn json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Int(number)
        | Value::Duration(number)
        | Value::Seconds(number)
        | Value::Millis(number)
        | Value::Micros(number)
        | Value::Time(number)
        | Value::Clock(number)
        | Value::Bytes(number)
        | Value::Kibibytes(number)
        | Value::Hex(number)
        | Value::Named(number, _) => {
            let _ = write!(out, "{number}");
        }
        Value::Real(number) => match real(*number) {
            Some(number) => out.push_str(&number),
            None => out.push_str("null"),
        },
        Value::Text(text) => json_text(text, out),
        Value::Texts(texts) => {
            out.push('[');
            for (index, text) in texts.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json_text(text, out);
            }
            out.push(']');
        }
        Value::Ints(numbers) => {
            out.push('[');
            out.push_str(&join(numbers, ","));
            out.push(']');
        }
        Value::Flag(flag) => {
            let _ = write!(out, "{flag}");
        }
    }
}

/// Appends a JSON string. Beyond what JSON demands it escapes all that could steer a terminal.
pub(crate) fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            other if steers(other) => {
                let _ = write!(out, "\\u{:04x}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
