//! Programs as the distribution ships them.

use super::{Walk, Walks, profile, share};
use crate::live::{missing, shared};
use crate::recording::rows_where;
use lookback_schemas::tables::{Exec, Sample};

/// Fails unless 95 % of the stacks of a command are complete. What they are nobody says; but `_start`, if
/// there is one, is their end.
fn assert_complete(program: &str, script: &str) {
    if !std::path::Path::new(program).exists() {
        return missing(&format!("{program} is not installed"));
    }
    let recorded = profile().options(["--", program, "-c", script]).run();
    let walks = Walks::read(&recorded);
    let samples = recorded.table::<Sample>();
    let pid = recorded.table::<Exec>().pid.value(0);
    let own = rows_where(&samples, |row| samples.pid.value(row) == pid).len();
    let sampled = walks.sampled(&recorded, pid, &(0..=i64::MAX));
    assert!(own > 100 && sampled.len() * 2 > own, "{} stacks of {own} samples", sampled.len());
    let whole = share(&sampled, |walk| walk.complete);
    let other: Option<&&Walk> = sampled.iter().find(|walk| !walk.complete);
    let told = &recorded.recording.manifest().unwinding;
    assert!(whole >= 0.95, "only {whole} of {}: {other:#?}; {told:#?}", sampled.len());
    for walk in sampled {
        let start = walk.calls.iter().position(|call| call.name == "_start");
        assert!(start.is_none_or(|start| start + 1 == walk.calls.len()), "{walk:#?}");
    }
}

#[test]
fn stacks_of_python_are_complete() {
    let Some(_turn) = shared(&["profile", "process"]) else { return };
    let script = "
import json, re, time
end = time.process_time() + 2
while time.process_time() < end:
    text = json.dumps([{str(i): sorted(range(i))} for i in range(50)])
    re.findall('[0-9]+', text), json.loads(text)
";
    assert_complete("/usr/bin/python3", script);
}

#[test]
fn stacks_of_bash_are_complete() {
    let Some(_turn) = shared(&["profile", "process"]) else { return };
    let script = "
call() { local text=$1; [[ $text =~ ([0-9]+) ]] && sum=$((sum + BASH_REMATCH[1] % 7)); }
end=$((${EPOCHREALTIME/./} + 2000000))
while ((${EPOCHREALTIME/./} < end)); do for i in {1..200}; do call \"number $i\"; done; done
";
    assert_complete("/bin/bash", script);
}
