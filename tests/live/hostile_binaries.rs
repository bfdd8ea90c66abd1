//! Names from binaries that are broken, or made to break their readers. Neither program may fail, and what
//! can be named is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lookback_schemas::cell::View as _;
use lookback_schemas::manifest::Symbols;
use lookback_schemas::tables::Symbol;
use tempfile::TempDir;

use super::symbols::{Stripped, analyze};
use super::{alone, missing};
use crate::recording::{Record, Recorded};
use crate::running::run;
use crate::workload;

/// The bytes of a 64-bit ELF file, which are to be changed.
struct Elf(Vec<u8>);

impl Elf {
    fn read(path: &Path) -> Elf {
        Elf(fs::read(path).unwrap())
    }

    fn word(&self, at: usize) -> usize {
        let bytes = self.0[at..at + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    }

    fn set(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Where the section headers are.
    fn sections(&self) -> Vec<usize> {
        let (first, count) = (self.word(0x28), u16::from_le_bytes([self.0[0x3c], self.0[0x3d]]));
        (0..usize::from(count)).map(|number| first + number * 64).collect()
    }

    /// Where the section of a name has its header.
    fn section(&self, name: &str) -> usize {
        let names = self.sections()[usize::from(u16::from_le_bytes([self.0[0x3e], self.0[0x3f]]))];
        let names = self.word(names + 0x18);
        let is = |header: &usize| {
            let at = u32::from_le_bytes(self.0[*header..header + 4].try_into().unwrap());
            self.0[names + at as usize..].starts_with(format!("{name}\0").as_bytes())
        };
        self.sections().into_iter().find(is).unwrap()
    }
}

/// Pseudo-random numbers, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

#[test]
fn broken_debug_files_break_nothing() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let whole = Elf::read(&workload::path("burner"));
    let stripped = Stripped::of(&workload::path("burner"));
    let recorded = stripped.record(&[]);
    let mut random = Numbers(0x1234_5678_9abc_def1);
    let mut broken: Vec<Vec<u8>> = Vec::new();
    for part in 1..16 {
        broken.push(whole.0[..whole.0.len() * part / 16].to_vec());
    }
    for number in 0..24 {
        let mut bytes = whole.0.clone();
        // Behind the headers and the note with the build id; few bytes here, and many there.
        (0..1 << (number % 8)).for_each(|_| {
            let at = 0x1000 + random.below(bytes.len() - 0x1000);
            bytes[at] = u8::try_from(random.below(256)).unwrap();
        });
        broken.push(bytes);
    }
    for (field, value) in [(0x18, u64::MAX - 7), (0x20, 1 << 62), (0x20, u64::MAX), (0x18, 0)] {
        let mut elf = Elf(whole.0.clone());
        elf.sections().into_iter().skip(1).for_each(|header| elf.set(header + field, value));
        broken.push(elf.0);
    }
    for (field, value) in [(0x28, u64::MAX), (0x28, 1), (0x20, u64::MAX)] {
        let mut elf = Elf(whole.0.clone());
        elf.set(field, value);
        broken.push(elf.0);
    }
    let mut read = 0;
    for (number, bytes) in broken.iter().enumerate() {
        // A name that came once would not be asked for again.
        let copy = tempfile::tempdir().unwrap();
        let recording = copy.path().join("recording");
        let mut cp = Command::new("cp");
        assert!(
            run(cp.arg("-r").arg(recorded.recording.directory()).arg(&recording)).status.success()
        );
        fs::write(stripped.debug_dir().join("app.debug"), bytes).unwrap();
        let debug_dir = stripped.debug_dir();
        let began = Instant::now();
        let ended =
            analyze("symbolize", &recording, &["--debug-dir", debug_dir.to_str().unwrap()], &[]);
        assert!(began.elapsed() < Duration::from_secs(30), "file {number}: {}", ended.stderr);
        read += usize::from(!ended.stderr.contains("before; 0 are better"));
        let check = analyze("check", &recording, &[], &[]);
        assert!(check.stdout.contains("whole"), "file {number}: {}", check.stdout);
    }
    assert!(read >= 5, "only {read} of {} files named anything", broken.len());
}

/// A program of assembler, with debug information of its own. Its code is the loop in `main`.
fn program(directory: &TempDir, name: &str, info: &str, abbreviations: &str) -> PathBuf {
    let source = directory.path().join(format!("{name}.s"));
    let program = directory.path().join(name);
    let text = format!(
        ".file 1 \"evil.c\"\n.text\n.globl main\n.type main,@function\nmain:\n.loc 1 7\n\
         push %rbp\nmov %rsp,%rbp\nmov $700000000,%rcx\n1: dec %rcx\njnz 1b\n\
         xor %eax,%eax\npop %rbp\nret\n.Lend:\n.size main,.-main\n\
         .section .debug_line,\"\",@progbits\n.Lline:\n\
         .section .debug_info,\"\",@progbits\n.Linfo:\n.long .Lstop-.Lstart\n.Lstart:\n.value 4\n.long .Labbrev\n.byte 8\n\
         .uleb128 1\n.long .Lline\n.quad main\n.quad .Lend-main\n{info}\n.byte 0\n.Lstop:\n\
         .section .debug_abbrev,\"\",@progbits\n.Labbrev:\n\
         .uleb128 1\n.uleb128 0x11\n.byte 1\n.byte 0x10,0x17,0x11,0x1,0x12,0x7,0,0\n{abbreviations}\n.byte 0\n\
         .section .note.GNU-stack,\"\",@progbits\n"
    );
    fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    let ended = run(cc.args(["-Wl,--build-id", "-o"]).arg(&program).arg(&source));
    assert!(ended.status.success(), "{}", ended.stderr);
    program
}

/// Records it; gives the names of all frames.
fn names(program: &Path) -> (Recorded, Vec<String>) {
    let record = Record::trace("process,profile").options(["--frequency", "499"]);
    let recorded = record.options(["--".as_ref(), program.as_os_str()]).run();
    assert_eq!(recorded.recording.manifest().symbols, Symbols::Resolved);
    let symbols = recorded.table::<Symbol>();
    let names = (0..symbols.rows()).map(|row| symbols.name.value(row).to_owned()).collect();
    (recorded, names)
}

/// A subprogram without attributes but its name and place, which has children.
const FUNCTION: &str = ".uleb128 2\n.uleb128 0x2e\n.byte 1\n.byte 0x3,0x8,0x11,0x1,0x12,0x7,0,0\n";

#[test]
fn debug_information_that_has_no_end_ends() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    if !cfg!(target_arch = "x86_64") {
        missing("the programs are in the assembler of x86-64");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let function = ".uleb128 2\n.asciz \"dwarven\"\n.quad main\n.quad .Lend-main";
    // A call inlined from itself.
    let cycle = format!(
        "{function}\n.Lcall:\n.uleb128 3\n.long .Lcall-.Linfo\n.quad main\n.quad .Lend-main\n.byte 0\n"
    );
    let call = ".uleb128 3\n.uleb128 0x1d\n.byte 0\n.byte 0x31,0x13,0x11,0x1,0x12,0x7,0,0\n";
    let program_of_cycle = program(&directory, "cycle", &cycle, &format!("{FUNCTION}{call}"));
    let (_, named) = names(&program_of_cycle);
    assert!(named.iter().any(|name| name == "dwarven"), "{named:?}");
    // Calls inlined into each other, deeper than any stack.
    let deep = format!("{function}\n.fill 6000000,1,3\n.fill 6000000,1,0\n.byte 0\n");
    let call = ".uleb128 3\n.uleb128 0x1d\n.byte 1\n.byte 0,0\n";
    let program_of_deep = program(&directory, "deep", &deep, &format!("{FUNCTION}{call}"));
    let (_, named) = names(&program_of_deep);
    assert!(named.iter().any(|name| name == "main"), "the symbol table is whole: {named:?}");
}

#[test]
fn sections_that_say_they_are_gigantic_take_no_memory() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("huge");
    let ended = run(Command::new("objcopy")
        .arg("--compress-debug-sections=zlib")
        .args([workload::path("burner"), program.clone()]));
    assert!(ended.status.success(), "{}", ended.stderr);
    for size in [1 << 40, 1 << 62, u64::MAX] {
        let mut elf = Elf::read(&program);
        let data = elf.word(elf.section(".debug_info") + 0x18);
        // Elf64_Chdr: type, reserved, size.
        elf.set(data + 8, size);
        fs::remove_file(&program).unwrap();
        fs::write(&program, &elf.0).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, executable).unwrap();
        let arguments = ["--".as_ref(), program.as_os_str(), "shares".as_ref(), "300".as_ref()];
        let record = Record::trace("process,profile").options(["--frequency", "499"]);
        let recorded = record.options(arguments).run();
        let symbols = recorded.table::<Symbol>();
        let named = (0..symbols.rows()).any(|row| symbols.name.value(row) == "hot");
        assert!(named, "size {size:#x}: the symbol table is whole");
    }
}

#[test]
fn names_that_are_markup_are_drawn_as_they_are() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("marked");
    let mut objcopy = Command::new("objcopy");
    objcopy.args(["--strip-debug", "--redefine-sym", "hot=<script>alert(1)</script>"]);
    let ended = run(objcopy.arg(workload::path("burner")).arg(&program));
    assert!(ended.status.success(), "{}", ended.stderr);
    let arguments = ["--".as_ref(), program.as_os_str(), "shares".as_ref(), "300".as_ref()];
    let record = Record::trace("process,profile").options(["--frequency", "499"]);
    let recorded = record.options(arguments).run();
    let drawn = analyze("flamegraph", recorded.recording.directory(), &[], &[]).stdout;
    assert!(drawn.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "it is there");
    assert!(!drawn.contains("<script>alert"), "and harmless");
}
