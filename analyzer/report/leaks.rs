//! Where memory is outstanding, and how that grew: `memleak` at the end, and at instants before it.

use ahash::HashMap;
use lookback_schemas::TableId;

use super::Page;
use super::document::{Absent, Site, Sites, text};
use super::tables::{Ask, ask};
use crate::memleak::MemleakArgs;
use crate::render::{Captured, Keep, Value, size};

/// So many call stacks are shown.
const TOP: usize = 40;
/// At so many instants. At each, more stacks are asked for than are shown: small ones may grow.
const INSTANTS: i64 = 24;
const AT_EACH: usize = 200;
/// So many frames of a stack are shown.
const FRAMES: usize = 40;

/// The call stacks with most outstanding bytes, of heaps.
pub(super) fn sites(page: &Page<'_>, absent: &mut Vec<Absent>) -> Option<Sites> {
    let tables = &[TableId::Alloc];
    if !page.has(tables, "Memory that was not freed", absent) {
        return None;
    }
    let head = Sites {
        command: format!("analyze memleak REC --kind heap --top {TOP}"),
        warnings: page.warnings(tables),
        ..Sites::default()
    };
    Some(match read(page) {
        Ok(read) => Sites { command: head.command, warnings: head.warnings, ..read },
        Err(error) => Sites { error: Some(text(&format!("{error:#}"))), ..head },
    })
}

fn read(page: &Page<'_>) -> anyhow::Result<Sites> {
    let (top, at_each) = (TOP.to_string(), AT_EACH.to_string());
    let words = ["--kind", "heap", "--top", &top];
    let keep = Keep { rows: TOP, largest: None };
    let last = ask::<MemleakArgs>(page, &Ask { words: &words, keep })?;

    let length = page.source.window.end().saturating_sub(page.source.window.start()).max(1);
    let step = format!("{}ns", (length - 1) / INSTANTS + 1);
    let words = ["--kind", "heap", "--top", &at_each, "--every", &step];
    let keep = Keep { rows: AT_EACH * (INSTANTS as usize + 1), largest: None };
    let before = ask::<MemleakArgs>(page, &Ask { words: &words, keep })?;

    let mut instants: Vec<i64> = Vec::new();
    let mut grown: HashMap<String, Vec<(usize, i64)>> = HashMap::default();
    for row in &before.rows {
        let Some(at) = number(&before, row, "ts") else { continue };
        let at = page.since_start(at);
        if instants.last() != Some(&at) {
            instants.push(at);
        }
        let bytes = number(&before, row, "bytes").unwrap_or(0);
        grown.entry(stack(&before, row).join("\n")).or_default().push((instants.len() - 1, bytes));
    }
    let site = |row: &[Value]| {
        let frames = stack(&last, row);
        let mut growth = vec![None; instants.len()];
        for (place, bytes) in grown.get(&frames.join("\n")).into_iter().flatten() {
            growth[*place] = Some(*bytes);
        }
        let bytes = number(&last, row, "bytes").unwrap_or(0);
        let mut stack: Vec<String> = frames.iter().take(FRAMES).map(|frame| text(frame)).collect();
        if frames.len() > FRAMES {
            stack.push(format!("… {} more", frames.len() - FRAMES));
        }
        let count = number(&last, row, "count").unwrap_or(0);
        Site { bytes, size: size(bytes), count, growth, stack }
    };
    let sites = last.rows.iter().map(|row| site(row)).collect();
    let notes = last.notes.iter().map(|note| text(note)).collect();
    Ok(Sites { instants, sites, notes, ..Sites::default() })
}

fn number(rows: &Captured, row: &[Value], name: &str) -> Option<i64> {
    rows.place(name).and_then(|place| row[place].number())
}

fn stack(rows: &Captured, row: &[Value]) -> Vec<String> {
    match rows.place("stack").map(|place| &row[place]) {
        Some(Value::Texts(frames)) => frames.clone(),
        Some(_) | None => Vec::new(),
    }
}
