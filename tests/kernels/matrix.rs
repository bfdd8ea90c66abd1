//! The table of kernels and tracers in `docs/kernels.md`, which runs make.
//!
//! After the live tests have passed under a kernel, what `record --list` says there must be what the page says: which
//! kind of hook each tracer gets its events from, and what that kernel cannot give. With `LOOKBACK_WRITE_DOCS=1`
//! the page is written instead.

use std::collections::BTreeMap;
use std::path::Path;

use crate::running::kernel_version;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/kernels.md");

/// What surrounds the part of the page that is made here.
const BEGIN: &str = "<!-- Made by `make test-kernels`. -->\n";
const END: &str = "<!-- Until here. -->\n";

/// The columns.
const KERNELS: [&str; 6] = ["5.10", "6.1", "6.12", "6.18", "7.3", OWN];
/// The kernel of the machine that the project is tested on.
const OWN: &str = "6.18 without kprobes";

/// How hooks are called in a cell, by how their names begin.
const KINDS: [(&str, &str); 11] = [
    ("fentry", "fentry"),
    ("kprobe", "kprobe"),
    ("typed raw tracepoint", "tp_btf"),
    ("raw tracepoint", "raw_tp"),
    ("tracepoint", "tracepoint"),
    ("perf event", "perf event"),
    ("LSM", "LSM"),
    ("uprobe session", "uprobe session"),
    ("uprobes", "uprobe"),
    ("USDT probes", "USDT"),
    ("a program for each place", "any"),
];

/// What a cell says of a feed that cannot be had; the reason is below the table.
const NO: &str = "–";

/// A row: a tracer, and what it wants.
type Row = (String, String);

/// The part of the page.
#[derive(Debug, Default, PartialEq, Eq)]
struct Matrix {
    /// The rows, in the order of `record --list`.
    rows: Vec<Row>,
    /// By row and kernel.
    cells: BTreeMap<(Row, String), String>,
    /// What a kernel cannot give, and why.
    missing: BTreeMap<String, Vec<String>>,
}

impl Matrix {
    fn read(text: &str) -> Matrix {
        let mut matrix = Matrix::default();
        let mut kernel = "";
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("### ") {
                kernel = heading;
            } else if let Some(what) = line.strip_prefix("- ") {
                matrix.missing.entry(kernel.to_owned()).or_default().push(what.to_owned());
            } else if let Some(line) = line.strip_prefix("| `") {
                let cells: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
                let row = (cells[0].trim_end_matches('`').to_owned(), cells[1].to_owned());
                let known = KERNELS.iter().zip(&cells[2..]).filter(|(_, cell)| !cell.is_empty());
                known.for_each(|(kernel, cell)| matrix.set(&row, kernel, cell));
            }
        }
        matrix
    }

    fn set(&mut self, row: &Row, kernel: &str, cell: &str) {
        if !self.rows.contains(row) {
            self.rows.push(row.clone());
        }
        self.cells.insert((row.clone(), kernel.to_owned()), cell.to_owned());
    }

    /// Puts in place of what is known of a kernel what `record --list` says there.
    fn learn(&mut self, kernel: &str, list: &str) {
        self.cells.retain(|(_, its), _| its != kernel);
        self.missing.remove(kernel);
        let (mut tracer, mut missing) = (String::new(), Vec::new());
        for line in list.lines() {
            let Some(fact) = line.strip_prefix("           ") else {
                tracer = line.split(' ').next().unwrap_or_default().to_owned();
                continue;
            };
            if let Some(why) = fact.strip_prefix("does not work: ") {
                let feed = why.split(" cannot attach for ").nth(1).unwrap_or(why);
                let feed = feed.split(" (").next().unwrap_or_default().to_owned();
                self.set(&(tracer.clone(), feed), kernel, NO);
                missing.push(format!("`{tracer}` {fact}"));
                continue;
            }
            let (what, hook) = fact.split_once(": ").unwrap_or((fact, ""));
            if what.contains(" is null") {
                missing.push(format!("`{what}`: {hook}").replace(" is null`", "` is null"));
                continue;
            }
            let row = (tracer.clone(), what.to_owned());
            if hook.starts_with("not available") {
                self.set(&row, kernel, NO);
                missing.push(format!("`{tracer}`, {what}: {hook}"));
            } else {
                let kind = KINDS.iter().find(|(begin, _)| hook.starts_with(begin));
                let (_, kind) = kind.unwrap_or_else(|| panic!("unknown hook: {line}"));
                self.set(&row, kernel, kind);
            }
        }
        if !missing.is_empty() {
            self.missing.insert(kernel.to_owned(), missing);
        }
        let cells = &self.cells;
        self.rows.retain(|row| cells.keys().any(|(its, _)| its == row));
    }

    fn write(&self) -> String {
        let mut text = format!("| tracer | gives | {} |\n", KERNELS.join(" | "));
        text += &format!("|{}\n", "---|".repeat(KERNELS.len() + 2));
        for row in &self.rows {
            let cell = |kernel: &&str| {
                let key = (row.clone(), (*kernel).to_owned());
                self.cells.get(&key).map_or("", String::as_str)
            };
            let cells: Vec<&str> = KERNELS.iter().map(cell).collect();
            text += &format!("| `{}` | {} | {} |\n", row.0, row.1, cells.join(" | "));
        }
        text += "\nWhat a kernel cannot give, by its own words:\n";
        for kernel in KERNELS {
            let Some(missing) = self.missing.get(kernel) else { continue };
            text += &format!("\n### {kernel}\n\n");
            missing.iter().for_each(|what| text += &format!("- {what}\n"));
        }
        text
    }
}

/// Fails unless the page says of a kernel what `record --list` says there.
pub fn check(kernel: &str, list: &str) {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (part, after) = rest.split_once(END).unwrap();
    let mut matrix = Matrix::read(part);
    matrix.learn(kernel, list);
    let new = format!("{before}{BEGIN}\n{}\n{END}{after}", matrix.write());
    if std::env::var_os("LOOKBACK_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, new).unwrap();
        return;
    }
    assert_eq!(
        new, page,
        "under {kernel} the tracers are not what docs/kernels.md says; \
         if that is meant: LOOKBACK_WRITE_DOCS=1 make test-kernels"
    );
}

/// The column of this machine's own kernel, if it has one.
pub fn own() -> Option<&'static str> {
    let kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    (kernel_version() == (6, 18) && !kprobes).then_some(OWN)
}

#[test]
fn a_page_that_was_written_is_read_as_it_was() {
    let list = "open       files\n           open: raw tracepoints sys_enter\n\
                offcpu     waits\n           switches: typed raw tracepoints a, b\n           \
                offcpu.woken is null: no symbols\n\
                lsm        decisions\n           does not work: tracer `lsm` cannot attach for decisions on \
                connects (LSM hook: no)\n";
    let mut matrix = Matrix::default();
    matrix.learn("6.1", list);
    let text = matrix.write();
    assert!(text.contains("| `open` | open |  | raw_tp |  |"), "{text}");
    assert!(text.contains("| `offcpu` | switches |  | tp_btf |"), "{text}");
    assert!(text.contains("| `lsm` | decisions on connects |  | – |"), "{text}");
    assert!(
        text.contains("### 6.1\n\n- `offcpu.woken` is null: no symbols\n- `lsm` does"),
        "{text}"
    );
    assert_eq!(Matrix::read(&text), matrix);
}
