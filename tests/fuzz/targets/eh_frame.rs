//! Call frame information, from which the recorder makes its tables for unwinding.
#![no_main]

#[path = "../../../recorder/unwind/rows.rs"]
mod rows;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(frames) = rows::CallFrames::of(&fuzzing::file(bytes)) {
        assert!(frames.rows.is_sorted_by_key(|(address, _)| *address), "the kernel side halves");
        assert!(frames.rows.len() <= rows::MOST_ROWS);
        for offset in [0, 0x1000, u64::MAX] {
            frames.address_of(offset);
        }
    }
});
