//! One chain of functions, compiled in many ways.

use lookback_schemas::tables::Sample;

use super::{Spun, Walk, Walks, assert_whole, burst, profile, samples_of, share, spun};
use crate::live::{missing, shared};
use crate::recording::{Recorded, known, rows_where};
use crate::running::in_vm;
use crate::workload;

/// The functions of `chain`, from the one that has the leaf on.
pub const CHAIN: [&str; 8] =
    ["last", "compare", "sorts", "aligned", "sized", "large", "main", "_start"];

/// Runs a program in several modes, one after the other.
fn in_modes(program: &str, options: &[&str], modes: &[&str]) -> Option<Recorded> {
    let path = workload::path(program);
    if !path.exists() {
        missing(&format!("the compiler of {program} is not installed"));
        return None;
    }
    let runs = modes.iter().map(|mode| format!("{} {mode} {}; ", path.display(), burst()));
    let script = runs.collect::<String>() + "true";
    Some(profile().options(options).options(["--", "/bin/sh", "-c", &script]).run())
}

/// Fails unless of the program's own functions a chain has exactly these, where it was taken in the leaf.
fn assert_named(walks: &[&Walk], program: &str, leaf: &[&str], callers: &[&str]) {
    let expected = [leaf, callers].concat();
    let in_leaf: Vec<&&Walk> =
        walks.iter().filter(|walk| walk.calls[0].name == leaf[0] && walk.complete).collect();
    assert!(in_leaf.len() * 2 > walks.len(), "{} of {} in {leaf:?}", in_leaf.len(), walks.len());
    for walk in in_leaf {
        let mut names = walk.names_in(program);
        // In a static program the C library's functions are its own.
        names.retain(|name| expected.contains(name));
        assert_eq!(names, expected, "{walk:#?}");
    }
}

/// Fails unless the chain is whole in all modes of a program that has tables for all of its code.
fn assert_whole_in_all_modes(program: &str, named: bool) {
    let modes = ["shapes", "handler", "altstack", "thread", "fork", "clock"];
    let Some(recorded) = in_modes(program, &[], &modes) else { return };
    recorded.assert_nothing_lost();
    let walks = Walks::read(&recorded);
    let all = spun(recorded.stdout());
    assert_eq!(all.len(), modes.len());
    let whole: Vec<Vec<&Walk>> =
        all.iter().map(|spun| assert_whole(&recorded, &walks, spun, "tables")).collect();
    if !named {
        assert!(walks.0.values().any(|walk| walk.names_in(program).contains(&"")));
        return;
    }
    assert_named(&whole[0], program, &["spin"], &CHAIN);
    let handler = [&["on_signal", "interrupted"], &CHAIN[..]].concat();
    assert_named(&whole[1], program, &["spin"], &handler);
    assert_named(&whole[2], program, &["spin"], &handler);
    let to_large = &CHAIN[..6];
    assert_named(&whole[3], program, &["spin"], &[to_large, &["in_thread"]].concat());
    assert_named(
        &whole[4],
        program,
        &["spin"],
        &[to_large, &["in_child", "main", "_start"]].concat(),
    );
    let told = whole[5].iter().filter(|walk| walk.calls[0].module == "[vdso]").count();
    // An emulated processor takes other times for it.
    let least = whole[5].len() / if in_vm() { 10 } else { 4 };
    assert!(told > least, "{told} of {} in the vDSO", whole[5].len());
}

#[test]
fn chains_are_whole_where_the_program_may_lie_anywhere() {
    let Some(_turn) = shared(&["profile"]) else { return };
    assert_whole_in_all_modes("chain-pie", true);
}

#[test]
fn chains_are_whole_where_the_program_lies_where_it_was_linked() {
    let Some(_turn) = shared(&["profile"]) else { return };
    assert_whole_in_all_modes("chain-fixed", true);
}

#[test]
fn chains_are_whole_in_static_programs() {
    let Some(_turn) = shared(&["profile"]) else { return };
    assert_whole_in_all_modes("chain-static", true);
}

#[test]
fn chains_are_whole_in_static_programs_that_may_lie_anywhere() {
    let Some(_turn) = shared(&["profile"]) else { return };
    assert_whole_in_all_modes("chain-static-pie", true);
}

#[test]
fn chains_are_whole_in_programs_of_another_compiler() {
    let Some(_turn) = shared(&["profile"]) else { return };
    assert_whole_in_all_modes("chain-clang", true);
}

#[test]
fn chains_are_whole_without_symbols() {
    let Some(_turn) = shared(&["profile"]) else { return };
    assert_whole_in_all_modes("chain-stripped", false);
}

#[test]
fn chains_are_whole_in_programs_with_frame_pointers_too() {
    let Some(_turn) = shared(&["profile"]) else { return };
    assert_whole_in_all_modes("chain", true);
}

#[test]
fn chains_are_whole_while_exceptions_are_on_their_way() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let recorded = profile().workload("throws", [burst()]).run();
    let walks = Walks::read(&recorded);
    let all = spun(recorded.stdout());
    assert_eq!(all.len(), 2);
    let whole: Vec<Vec<&Walk>> =
        all.iter().map(|spun| assert_whole(&recorded, &walks, spun, "tables")).collect();
    let callers = ["passes", "catches", "main", "_start"];
    assert_named(&whole[0], "throws", &["spin", "Guard::~Guard"], &callers);
    assert_named(&whole[1], "throws", &["spin"], &callers[1..]);
}

/// Stacks of the only process of a program that has no judge.
fn all_of<'w>(recorded: &Recorded, walks: &'w Walks, leaf: &str) -> Vec<&'w Walk> {
    let pid = workload::fact(recorded.stdout(), "chain").int32("pid");
    let samples = recorded.table::<Sample>();
    let of_leaf: Vec<&Walk> = rows_where(&samples, |row| samples.pid.value(row) == pid)
        .into_iter()
        .filter_map(|row| walks.0.get(&known(&samples.user_stack, row)?))
        .filter(|walk| walk.calls[0].name == leaf)
        .collect();
    assert!(of_leaf.len() > 20, "{} samples of {leaf}", of_leaf.len());
    of_leaf
}

#[test]
fn chains_are_whole_in_rust() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let recorded = profile().workload("chain-rust", [burst()]).run();
    let walks = Walks::read(&recorded);
    let sampled = all_of(&recorded, &walks, "spin");
    let whole = share(&sampled, |walk| {
        let names = walk.names_in("chain-rust");
        let own: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| ["spin", "large", "catches", "main", "_start"].contains(name))
            .collect();
        own == ["spin", "large", "catches", "main", "_start"]
            && walk.complete
            && walk.walked.as_deref() == Some("tables")
    });
    assert!(whole >= 0.95, "only {whole}: {:#?}", sampled[0]);
}

/// Go keeps frame pointers, and call frame information only for debuggers.
#[test]
fn chains_are_whole_in_go() {
    let Some(_turn) = shared(&["profile"]) else { return };
    if !workload::path("chain-go").exists() {
        return missing("the compiler of chain-go is not installed");
    }
    let recorded = profile().workload("chain-go", [burst()]).run();
    let walks = Walks::read(&recorded);
    let sampled = all_of(&recorded, &walks, "main.spin");
    let of = |callers: &[&str]| {
        let expected = [&["main.spin", "main.(*shape).large"], callers].concat();
        share(&sampled, |walk| {
            walk.names_in("chain-go") == expected
                && walk.complete
                && walk.walked.as_deref() == Some("frame pointers")
        })
    };
    let main = of(&["main.main", "runtime.main", "runtime.goexit"]);
    let routine = of(&["main.goroutine", "main.main.func1", "runtime.goexit"]);
    assert!(
        main > 0.3 && routine > 0.3 && main + routine >= 0.95,
        "{main}, {routine}: {:#?}",
        sampled[0]
    );
}

#[test]
fn what_is_deeper_than_a_stack_is_called_truncated() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let Some(recorded) = in_modes("chain-pie", &[], &["deep"]) else { return };
    let walks = Walks::read(&recorded);
    let spun = spun(recorded.stdout()).remove(0);
    let sampled = samples_of(&recorded, &walks, &spun);
    assert!(
        sampled.iter().all(|walk| !walk.complete && walk.truncated == (walk.calls.len() == 127))
    );
    let deep = share(&sampled, |walk| {
        let own = walk.offsets();
        let callers = own.iter().position(|offset| *offset == spun.callers[0]);
        walk.truncated && callers.is_some_and(|first| spun.callers.starts_with(&own[first..]))
    });
    assert!(deep >= 0.95, "only {deep}: {:#?}", sampled[0]);
}

// --- Code that tells nothing of its frames ---

/// Whether the chain of a `chain` goes on to the start from `first` on, by names.
pub fn reaches_the_start(walk: &Walk, program: &str, first: &[&str]) -> bool {
    walk.complete && walk.names_in(program) == [first, &CHAIN].concat()
}

#[test]
fn a_function_that_tells_nothing_is_left_by_its_frame_pointer() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let first = ["spin", "bare", "below_bare"];
    for (how, walked) in [("auto", "both"), ("dwarf", "tables")] {
        let Some(recorded) = in_modes("chain-pie", &["--unwind", how], &["bare"]) else { return };
        let walks = Walks::read(&recorded);
        let sampled = all_of(&recorded, &walks, "spin");
        let good = share(&sampled, |walk| {
            let told = match how {
                "auto" => reaches_the_start(walk, "chain-pie", &first),
                _ => !walk.complete && walk.names_in("chain-pie") == ["spin", "bare"],
            };
            told && walk.walked.as_deref() == Some(walked)
        });
        assert!(good >= 0.95, "{how}: only {good}: {:#?}", sampled[0]);
        let begun = |walk: &&&Walk| how == "dwarf" && walk.complete;
        assert!(!sampled.iter().any(|walk| begun(&walk)), "no table tells of `bare`");
    }
}

#[test]
fn a_frame_pointer_that_is_something_else_leads_nowhere() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let Some(recorded) = in_modes("chain-pie", &[], &["astray"]) else { return };
    let walks = Walks::read(&recorded);
    for walk in all_of(&recorded, &walks, "spin") {
        assert!(!walk.complete, "{walk:#?}");
        assert_eq!(walk.names_in("chain-pie"), ["spin", "astray"]);
    }
}

#[test]
fn a_program_that_tells_nothing_is_walked_by_frame_pointers() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let Some(recorded) = in_modes("chain-untold", &[], &["shapes"]) else { return };
    let walks = Walks::read(&recorded);
    let sampled = all_of(&recorded, &walks, "spin");
    let whole = share(&sampled, |walk| {
        reaches_the_start(walk, "chain-untold", &["spin"]) && walk.walked.as_deref() == Some("both")
    });
    assert!(whole >= 0.95, "only {whole}: {:#?}", sampled[0]);

    let Some(recorded) = in_modes("chain-untold", &["--unwind", "dwarf"], &["shapes"]) else {
        return;
    };
    let walks = Walks::read(&recorded);
    for walk in all_of(&recorded, &walks, "spin") {
        assert!(!walk.complete && walk.calls.len() == 1, "{walk:#?}");
    }
}

#[test]
fn a_program_without_any_means_is_never_called_complete() {
    let Some(_turn) = shared(&["profile"]) else { return };
    for program in ["chain-nothing", "chain-musl"] {
        for how in ["auto", "fp", "dwarf"] {
            let options = ["--unwind", how];
            let Some(recorded) = in_modes(program, &options, &["shapes", "thread"]) else {
                continue;
            };
            let walks = Walks::read(&recorded);
            let all = spun(recorded.stdout());
            assert_eq!(all.len(), 2);
            for Spun { tid, span, .. } in all {
                for walk in walks.sampled(&recorded, tid, &span) {
                    let start = walk.calls.last().is_some_and(|call| call.name == "_start");
                    assert!(start || !walk.complete, "{how}: {walk:#?}");
                }
            }
        }
    }
}

#[test]
fn by_frame_pointers_alone_the_c_library_is_where_it_ends() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let Some(recorded) = in_modes("chain", &["--unwind", "fp"], &["shapes"]) else { return };
    let walks = Walks::read(&recorded);
    let spun = spun(recorded.stdout()).remove(0);
    assert_eq!(recorded.recording.manifest().unwinding.as_ref().unwrap().asked, "fp");
    for walk in samples_of(&recorded, &walks, &spun) {
        assert!(!walk.complete, "{walk:#?}");
        assert!(walk.walked.as_deref().is_none_or(|walked| walked == "frame pointers"));
    }
    let sampled = all_of(&recorded, &walks, "spin");
    let begun =
        share(&sampled, |walk| walk.names_in("chain").starts_with(&["spin", "last", "compare"]));
    assert!(begun >= 0.95, "only {begun}: {:#?}", sampled[0]);
}
