//! The manifest: any bytes.
#![no_main]

use fuzzing::Recording;

thread_local! {
    static RECORDING: Recording = Recording::new();
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    RECORDING.with(|recording| {
        recording.write(&recording.path("manifest.json"), bytes);
        recording.ask(&["info"]);
        recording.ask(&["info", "--format", "json"]);
    });
});
