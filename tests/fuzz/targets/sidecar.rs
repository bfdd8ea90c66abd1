//! A segment without a footer, and its sidecar, of any table: two bytes say where the sidecar begins.
#![no_main]

use fuzzing::Recording;

thread_local! {
    static RECORDING: Recording = Recording::new();
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((table, [low, high, rest @ ..])) = fuzzing::table(bytes) else { return };
    let Some((segment, sidecar)) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into())
    else {
        return;
    };
    RECORDING.with(|recording| {
        let folder = recording.path(table.name());
        recording.write(&folder.join("000001.parquet"), segment);
        recording.write(&folder.join("000001.parquet.footer"), sidecar);
        recording.ask_about(table);
        for path in lookback_schemas::recording::Recording::open(folder.parent().expect("it has"))
            .expect("the manifest is whole")
            .unfinished()
        {
            let _ = lookback_schemas::repair::repair(&path);
        }
        recording.ask_about(table);
        std::fs::remove_dir_all(folder).expect("it was just made");
    });
});
