//! Where an argument of a USDT probe is, as a note of the binary says it in the assembler's words.
#![no_main]
#![allow(dead_code, reason = "the rest of it is for probes that users spell out")]

#[path = "../../../recorder/probes/operand.rs"]
mod operand;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(found) = operand::of_note(text) {
        operand::Type::of(&found);
    }
});
