//! A segment that has its footer, of any table.
#![no_main]

use fuzzing::Recording;

thread_local! {
    static RECORDING: Recording = Recording::new();
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((table, rest)) = fuzzing::table(bytes) else { return };
    RECORDING.with(|recording| {
        let folder = recording.path(table.name());
        recording.write(&folder.join("000001.parquet"), rest);
        recording.ask_about(table);
        std::fs::remove_dir_all(folder).expect("it was just made");
    });
});
