//! Every hit of a probe, with its arguments as the user named them.

use arrow::array::{Array as _, Int64Array, StringArray};
use lookback_schemas::tables::Probe;

use super::asked::{self, Asked, Slot, number, quoted};
use super::{NUMBERS, Question, TEXTS, numbers, texts};
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::timeline;

/// The arguments of one hit.
struct Arguments<'a> {
    numbers: [&'a Int64Array; 6],
    texts: [&'a StringArray; 6],
    row: usize,
}

impl Arguments<'_> {
    fn number(&self, place: usize) -> Option<i64> {
        known!(self.numbers[place], self.row)
    }

    fn text(&self, place: usize) -> Option<&str> {
        known!(self.texts[place], self.row)
    }

    /// In words: `count=12 path="/x"`. Of a probe that the manifest does not know, what there is.
    fn say(&self, asked: Option<&Asked<'_>>) -> String {
        let unknown = || "-".to_owned();
        let said: Vec<String> = match asked {
            Some(asked) => {
                let one = |argument: &lookback_schemas::manifest::Argument| {
                    let value = match Slot::of(&argument.column) {
                        Some(Slot::Number(place)) => {
                            self.number(place).map(|value| number(value, &argument.kind))
                        }
                        Some(Slot::Text(place)) => self.text(place).map(quoted),
                        None => None,
                    };
                    format!("{}={}", argument.name, value.unwrap_or_else(unknown))
                };
                asked.arguments.iter().map(one).collect()
            }
            None => {
                let numbers = |place: usize| {
                    self.number(place).map(|value| format!("{}={value}", NUMBERS[place]))
                };
                let texts = |place: usize| {
                    self.text(place).map(|text| format!("{}={}", TEXTS[place], quoted(text)))
                };
                (0..NUMBERS.len()).filter_map(|place| numbers(place).or(texts(place))).collect()
            }
        };
        said.join(" ")
    }
}

impl Question<'_> {
    /// Prints the report.
    pub(super) fn list(&self, output: &mut Output) -> anyhow::Result<()> {
        let probes = asked::all(self.source.recording.manifest());
        let mut columns = vec![
            Column::new("ts", "TIME").wide(12),
            Column::new("pid", "PID").right().wide(7),
            Column::new("tid", "TID").right().wide(7),
            Column::new("comm", "COMM").wide(15),
            Column::new("name", "NAME").wide(16),
            Column::table("ARGUMENTS"),
        ];
        columns.extend([NUMBERS, TEXTS].concat().into_iter().map(Column::data));
        columns.extend(["stack", "kernel_stack", "cpu", "uid"].map(Column::data));
        let mut out = output.events(columns);
        let range = &self.source.window.range;
        timeline::rows::<Probe>(&self.source.recording, range, &self.scope, |rows, row| {
            let name = known!(rows.name, row);
            if !self.admits(name) {
                return Ok(());
            }
            let arguments = Arguments { numbers: numbers!(rows), texts: texts!(rows), row };
            let asked = name.and_then(|name| probes.get(name));
            let mut values = vec![
                Value::Clock(rows.ts.value(row)),
                Value::Int(i64::from(rows.pid.value(row))),
                Value::Int(i64::from(rows.tid.value(row))),
                Value::text(known!(rows.comm, row)),
                Value::text(name),
                Value::Text(arguments.say(asked)),
            ];
            let places = 0..NUMBERS.len();
            values.extend(places.clone().map(|place| Value::int(arguments.number(place))));
            values.extend(places.map(|place| Value::text(arguments.text(place))));
            values.extend([
                Value::int(known!(rows.stack, row)),
                Value::int(known!(rows.kernel_stack, row)),
                Value::Int(i64::from(rows.cpu.value(row))),
                Value::Int(i64::from(rows.uid.value(row))),
            ]);
            out.row(&values)
        })?;
        out.end()
    }
}
