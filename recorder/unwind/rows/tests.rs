//! Rows, against what `readelf` says of the same call frame information, and of broken files.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;

// --- The judge ---

/// A row as `readelf` shows it.
#[derive(Debug)]
struct Told {
    address: u64,
    /// The address behind it.
    end: u64,
    cfa: String,
    frame_pointer: String,
    return_address: String,
    signal: bool,
}

/// All rows of a file, by `readelf --debug-dump=frames-interp`.
fn told(path: &Path) -> Vec<Told> {
    let output = Command::new("readelf").arg("--debug-dump=frames-interp").arg(path).output();
    let output = output.expect("binutils is where there is a compiler");
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.split("Contents of the .debug_frame").next().unwrap();
    let (mut all, mut signals) = (Vec::new(), HashSet::new());
    for entry in text.split("\n\n") {
        let mut lines =
            entry.lines().skip_while(|line| !line.contains(" CIE") && !line.contains(" FDE"));
        let Some(head) = lines.next() else { continue };
        if head.contains(" CIE") {
            if head.contains("\"zRS\"") {
                signals.insert(head.split(' ').next().unwrap().to_owned());
            }
            continue;
        }
        let cie = head.split("cie=").nth(1).unwrap().split(' ').next().unwrap();
        let signal =
            signals.iter().any(|one| one.trim_start_matches('0') == cie.trim_start_matches('0'));
        let pcs = head.split("pc=").nth(1).unwrap().trim().split_once("..").unwrap();
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let Some(columns) = lines.next() else { continue };
        let columns: Vec<&str> = columns.split_whitespace().collect();
        // Registers are shown as `r3 (rbx)`.
        let words = |line: &'_ str| {
            line.split_whitespace()
                .filter(|word| !word.starts_with('('))
                .map(str::to_owned)
                .collect()
        };
        let rows: Vec<Vec<String>> = lines.map(words).collect();
        for (number, row) in rows.iter().enumerate() {
            let of = |name| {
                let at = columns.iter().position(|column| *column == name);
                at.map_or("u", |at| &row[at]).to_owned()
            };
            let next = rows.get(number + 1).map(|next| next[0].as_str());
            let end = hex(next.unwrap_or(pcs.1));
            let (cfa, frame_pointer, return_address) = (of("CFA"), of("rbp"), of("ra"));
            all.push(Told {
                address: hex(&row[0]),
                end,
                cfa,
                frame_pointer,
                return_address,
                signal,
            });
        }
    }
    all
}

/// What a row must be; `None` where it depends on an expression.
fn expected(told: &Told) -> Option<Row> {
    if told.signal {
        return Some(row(Cfa::Signal, 0, Fp::Same, 0));
    }
    match told.return_address.as_str() {
        "u" => return Some(row(Cfa::End, 0, Fp::Same, 0)),
        "c-8" => {}
        // `vfork` keeps it in a register.
        _other => return Some(Row::default()),
    }
    let bytes = |text: &str| text.parse::<i64>().unwrap();
    let (fp, fp_distance) = match told.frame_pointer.as_str() {
        "u" | "s" => (Fp::Same, 0),
        saved => match saved.strip_prefix('c') {
            Some(distance) => match words(bytes(distance)) {
                Some(distance) => (Fp::AtCfa, distance),
                None => (Fp::Lost, 0),
            },
            None => return None,
        },
    };
    let (cfa, distance) = match told.cfa.split_at(3) {
        ("rsp", distance) => (Cfa::Sp, bytes(distance)),
        ("rbp", distance) => (Cfa::Fp, bytes(distance)),
        ("exp", _) => return None,
        _other => return Some(Row::default()),
    };
    Some(words(distance).map_or(Row::default(), |words| row(cfa, words, fp, fp_distance)))
}

fn row_at(rows: &[(u64, Row)], address: u64) -> Row {
    let before = rows.partition_point(|(at, _)| *at <= address);
    before.checked_sub(1).map_or(Row::default(), |at| rows[at].1)
}

/// Fails unless all rows of a file are what the judge says. Gives how many there are, how many of them are
/// made of expressions, and how many cannot be told by a row.
fn compare(path: &Path) -> [usize; 3] {
    let frames = CallFrames::of(&File::open(path).unwrap()).unwrap();
    let told = told(path);
    let mut counts = [told.len(), 0, 0];
    for told in told.iter().filter(|told| told.address < told.end) {
        for address in [told.address, told.address.midpoint(told.end), told.end - 1] {
            let ours = row_at(&frames.rows, address);
            if let Some(expected) = expected(told) {
                assert_eq!(ours, expected, "{} at {address:#x}: {told:?}", path.display());
            } else if address == told.address {
                counts[1] += 1;
                let by_expression = [Cfa::AtFp, Cfa::AtSp, Cfa::Plt, Cfa::None];
                let cfa = by_expression.iter().any(|cfa| ours.rule & 15 == *cfa as u8);
                let fp = ours.rule >> 4;
                let lost = fp == Fp::AtFp as u8 || fp == Fp::Lost as u8;
                assert!(cfa || told.cfa != "exp" && lost, "at {address:#x}: {told:?}: {ours:?}");
            }
        }
        counts[2] += usize::from(row_at(&frames.rows, told.address).rule & 15 == Cfa::None as u8);
    }
    counts
}

/// A small program with frames of all kinds.
fn program(directory: &Path) -> PathBuf {
    let (source, program) = (directory.join("small.c"), directory.join("small"));
    std::fs::write(
        &source,
        "#include <alloca.h>\n#include <stdlib.h>\n\
         __attribute__((noinline)) int aligned(int n)\n{\n\
         volatile char a[64] __attribute__((aligned(64)));\n\
         volatile char *b = alloca(n);\n\
         b[0] = a[n] = 1;\n return rand() + a[0] + b[0];\n}\n\
         __attribute__((noinline)) int large(int n)\n{\n\
         volatile char a[400000];\n a[n] = 1;\n return aligned(n) + a[0];\n}\n\
         int main(int argc, char **argv) { (void)argv; return large(argc); }\n",
    )
    .unwrap();
    let mut command = Command::new("cc");
    command.args(["-O2", "-fomit-frame-pointer", "-Wl,-z,lazy", "-fcf-protection=none", "-o"]);
    assert!(command.arg(&program).arg(&source).status().unwrap().success());
    program
}

#[test]
fn rows_are_what_readelf_says() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    let [rows, ..] = compare(&program);
    assert!(rows > 10);
    let frames = CallFrames::of(&File::open(&program).unwrap()).unwrap();
    let has = |row: Row| frames.rows.iter().any(|(_, own)| *own == row);
    // jmp, push (from 6 on), jmp (from 11 on).
    assert!(has(row(Cfa::Plt, 11, Fp::Same, 0)), "the procedure linkage table");
    assert!(has(row(Cfa::AtFp, -1, Fp::AtFp, 0)), "an aligned frame");
    assert!(has(row(Cfa::End, 0, Fp::Same, 0)), "the start");
}

#[test]
fn rows_of_the_distributions_files_are_what_readelf_says() {
    let folder = Path::new("/usr/lib/x86_64-linux-gnu");
    let names = ["libc.so.6", "libstdc++.so.6", "libcrypto.so.3", "../../bin/python3"];
    let mut compared = 0;
    for path in names.map(|name| folder.join(name)).into_iter().filter(|path| path.exists()) {
        let [rows, by_expression, unknown] = compare(&path);
        println!("{}: {rows} rows, {by_expression} expressions, {unknown} unknown", path.display());
        assert!(rows > 1000 && unknown * 50 < rows, "{unknown} of {rows} are not known");
        compared += 1;
    }
    assert!(compared > 0 || !folder.exists());
}

// --- Broken and hostile files ---

/// Numbers that look random, always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// No two rows have one address, and they are in order.
fn assert_in_order(rows: &[(u64, Row)]) {
    assert!(rows.is_sorted_by(|(one, _), (other, _)| one < other));
}

#[test]
fn files_that_are_cut_or_changed_are_refused_or_read() {
    let directory = tempfile::tempdir().unwrap();
    let whole = std::fs::read(program(directory.path())).unwrap();
    let mut random = Random(1);
    let mut refused = 0;
    for cut in (0..whole.len()).step_by(97) {
        match CallFrames::of(&file_of(&whole[..cut])) {
            Ok(frames) => assert_in_order(&frames.rows),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
    for _ in 0..1000 {
        let mut changed = whole.clone();
        for _ in 0..=random.below(8) {
            // The headers, or all.
            let end = if random.below(2) == 0 { 1024 } else { whole.len() };
            let at = random.below(end);
            changed[at] = random.below(256) as u8;
        }
        if let Ok(frames) = CallFrames::of(&file_of(&changed)) {
            assert_in_order(&frames.rows);
            let _ = frames.address_of(random.below(1 << 20) as u64);
        }
    }
}

#[test]
fn call_frame_information_that_is_changed_at_random_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = File::open(program(directory.path())).unwrap();
    let cache = ReadCache::new(&file);
    let elf = object::File::parse(&cache).unwrap();
    let section = elf.section_by_name(".eh_frame").unwrap();
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let whole = section.data().unwrap();
    let mut random = Random(2);
    let unchanged = rows(whole, &bases).unwrap();
    let mut different = 0;
    for _ in 0..5000 {
        let mut changed = whole.to_vec();
        for _ in 0..=random.below(16) {
            changed[random.below(whole.len())] = random.below(256) as u8;
        }
        if let Ok(rows) = rows(&changed, &bases) {
            assert_in_order(&rows);
            different += usize::from(rows != unchanged);
        }
    }
    assert!(different > 1000, "{different}");
}

/// An `.eh_frame` section that is being written, with one common entry whose addresses are absolute.
struct Section(Vec<u8>);

impl Section {
    fn new() -> Section {
        let mut section = Section(Vec::new());
        // Version 1, no augmentation, factors 1 and -8, return address in 16; CFA = rsp + 8, its place.
        section.entry(&[0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1]);
        section
    }

    fn entry(&mut self, body: &[u8]) {
        self.0.extend((body.len() as u32).to_le_bytes());
        self.0.extend(body);
    }

    fn function(&mut self, start: u64, bytes: u64, instructions: &[u8]) {
        let back = (self.0.len() + 4) as u32;
        let head = [start.to_le_bytes(), bytes.to_le_bytes()].concat();
        self.entry(&[&back.to_le_bytes(), &head[..], instructions].concat());
    }

    /// Reads it, which must not take long.
    fn rows(&self) -> Result<Vec<(u64, Row)>> {
        let began = Instant::now();
        let rows = rows(&self.0, &BaseAddresses::default());
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        if let Ok(rows) = &rows {
            assert_in_order(rows);
        }
        rows
    }
}

const AT_ONCE: Row = Row { address: 0, cfa: 1, fp: 0, rule: Cfa::Sp as u8 };

#[test]
fn functions_that_overlap_or_have_no_end_are_read() {
    let mut section = Section::new();
    section.function(0, u64::MAX, &[]);
    section.function(0x1000, 0x100, &[]);
    section.function(0x1080, 0x100, &[]);
    section.function(u64::MAX - 8, 0x100, &[]);
    section.function(0x5000, 0, &[]);
    let rows = section.rows().unwrap();
    assert_eq!(row_at(&rows, 0x800), AT_ONCE);
    assert_eq!(row_at(&rows, 0x1090), AT_ONCE);
}

#[test]
fn lengths_that_lead_nowhere_end_it() {
    for length in [0xffff_fff0_u32, 0x7fff_ffff, 1, 3] {
        let mut section = Section::new();
        section.function(0x1000, 0x10, &[]);
        section.0.extend(length.to_le_bytes());
        section.0.extend([0; 16]);
        assert_eq!(row_at(&section.rows().unwrap(), 0x1008), AT_ONCE, "{length:#x}");
    }
    let mut section = Section::new();
    section.0.extend(u32::MAX.to_le_bytes());
    section.0.extend((u64::MAX - 4).to_le_bytes());
    assert_eq!(section.rows().unwrap(), []);
}

#[test]
fn programs_without_an_end_are_bounded() {
    const REMEMBER: u8 = 0x0a;
    const ADVANCE: u8 = 0x41;
    let mut section = Section::new();
    section.function(0x1000, 0x10_0000, &vec![REMEMBER; 1 << 20]);
    section.function(0x20_0000, 0x10_0000, &[ADVANCE, 0x0e, 16].repeat(1 << 18));
    let rows = section.rows().unwrap();
    assert_eq!(row_at(&rows, 0x20_0001).cfa, 2, "the next function is read all the same");
    // Each step another row, of which there are too many.
    let mut section = Section::new();
    section.function(0x1000, 1 << 40, &[ADVANCE, 0x0e, 16, ADVANCE, 0x0e, 8].repeat(MOST_ROWS / 2));
    assert!(section.rows().is_err());
}

#[test]
fn a_million_functions_are_read() {
    let mut section = Section::new();
    for number in 0..1_000_000 {
        section.function(0x1000 + number * 32, 16, &[]);
    }
    let rows = section.rows().unwrap();
    assert_eq!(rows.len(), 2_000_000);
    assert_eq!(row_at(&rows, 0x1000 + 500_000 * 32 + 8), AT_ONCE);
    assert_eq!(row_at(&rows, 0x1000 + 500_000 * 32 + 20), Row::default());
}

#[test]
fn a_section_that_is_too_large_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let (input, program) = (program(directory.path()), directory.path().join("huge"));
    let huge = directory.path().join("section");
    // It takes no place on disk.
    File::create(&huge).unwrap().set_len(300 << 20).unwrap();
    let mut command = Command::new("objcopy");
    command.arg("--update-section").arg(format!(".eh_frame={}", huge.display()));
    let output = command.arg(&input).arg(&program).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let error = CallFrames::of(&File::open(&program).unwrap()).unwrap_err();
    assert!(error.to_string().contains("too many"), "{error:#}");
}
