//! Names from symbol tables and debug information, which blazesym reads. For users this runs in a process of
//! its own, with a limit of memory and of time; so what is found here costs the names of one file.
#![no_main]

use lookback_schemas::symbols::dwarf;
use lookback_schemas::symbols::worker::Question;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("elf");
    std::fs::write(&path, bytes).expect("there is room");
    for plain in [true, false] {
        let offsets = (0..16).map(|place| place * 0x100).collect();
        let question = Question { path: path.clone(), debug: None, offsets, plain, seconds: 1 };
        let _ = dwarf::name(&question, |_, _| {});
    }
});
