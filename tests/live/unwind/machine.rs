//! Code that a program makes while it runs: it has frame pointers, and calls code that has none.

use super::{Walk, Walks, burst, profile, samples_of, share, spun};
use crate::live::shared;

#[test]
fn stacks_go_through_code_that_was_made_at_run_time() {
    let Some(_turn) = shared(&["profile"]) else { return };
    for (mode, times) in [("mapped", 1), ("protected", 1), ("replaced", 2)] {
        let recorded = profile().workload("machine", [mode, &burst()]).run();
        let walks = Walks::read(&recorded);
        let all = spun(recorded.stdout());
        assert_eq!(all.len(), times);
        for spun in &all {
            let sampled = samples_of(&recorded, &walks, spun);
            let made = |walk: &Walk| {
                let entered = walk.calls.iter().position(|call| call.name == "callback");
                entered.is_some_and(|callback| walk.calls[callback + 1].module == "[anon]")
            };
            let whole = share(&sampled, |walk| {
                walk.complete && walk.walked.as_deref() == Some("both") && made(walk)
            });
            let other = sampled.iter().find(|walk| !walk.complete || !made(walk));
            assert!(whole >= 0.95, "{mode}: only {whole}: {other:#?}");
            for walk in sampled.iter().filter(|walk| walk.complete) {
                let mut names = walk.names_in("machine");
                names.retain(|name| *name != "say_callers");
                assert!(names.ends_with(&["callback", "enter", "main", "_start"]), "{walk:#?}");
            }
        }
    }
}
