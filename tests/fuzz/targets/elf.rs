//! The headers of an ELF file: its build id, and where its code lies.
#![no_main]

use lookback_schemas::symbols::elf::Headers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(headers) = Headers::of(fuzzing::file(bytes)) {
        for offset in [0, 0x1000, u64::MAX] {
            let _ = headers.address(offset);
        }
    }
});
