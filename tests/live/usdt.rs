//! Probes that a program has for itself (`--probe usdt:…`), against a program that notes when it comes by
//! them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::faults::changed_code;
use super::shared;
use super::shop::{
    self, Copy, Event, Values, assert_hits, attach, attached, commanded, counts, events, hits,
    numbers, probes, progress,
};
use super::sites::Stacks;
use crate::recording::{RECORD, Record, Recorded};
use crate::running::{Running, is_alive, kernel_version, run, wait_for};
use crate::workload::{fact, facts};

/// A probe of the program as an option says it.
fn usdt(file: &Path, name: &str, rest: &str) -> String {
    format!("usdt:{}:shop:{name}{rest}", file.display())
}

/// Every probe of `shop probes`, with all of its arguments, but `total`.
fn all(program: &Path) -> Vec<String> {
    probes(&[
        usdt(program, "order_start", ",arg0:u64,arg1:str,arg2:i32"),
        usdt(program, "order_done", ",arg0:u64,arg1:i32"),
        usdt(program, "small", ",arg0:i8,arg1:u8,arg2:i16,arg3:u16,arg4:i32,arg5:u32"),
        usdt(program, "large", ",arg0:i64,arg1:u64,arg2:ptr"),
        usdt(program, "six", ",arg0:i64,arg2:i64,arg3:i64,arg5:i64,arg6:i64,arg7:i64"),
        usdt(program, "bare", ""),
    ])
}

/// An order that was begun: its number, its name, its amount.
fn order(event: &Event) -> Values {
    (vec![(0, event.args[0]), (2, event.args[1])], vec![(1, event.text.clone())])
}

/// Fails unless every probe was recorded.
fn check_all(recorded: &Recorded, output: &str) {
    let check = |name: &str, expected: fn(&Event) -> Values| {
        assert_hits(&hits(recorded, name), &events(output, name), expected);
    };
    check("order_start", order);
    for name in ["order_done", "small", "large", "six", "bare"] {
        check(name, numbers);
    }
    assert_eq!(counts(recorded).len(), 6, "no others");
}

/// What the notes in a file say where the arguments of a probe are, by site.
fn operands(file: &Path, probe: &str) -> Vec<String> {
    let content = std::fs::read(file).unwrap();
    let name = format!("\0shop\0{probe}\0").into_bytes();
    let sites = content.windows(name.len()).enumerate().filter(|(_, window)| *window == name);
    let operands = sites.map(|(place, _)| {
        let rest = &content[place + name.len()..];
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(rest[..end].to_vec()).unwrap()
    });
    operands.collect()
}

#[test]
fn each_pass_is_recorded_with_all_arguments() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let (recorded, output) = commanded(&program, &all(&program), &["probes"]);
    check_all(&recorded, &output);

    // What the workload is for: the arguments are everywhere.
    let sites = operands(&program, "order_start");
    assert!(sites.len() >= 4, "{sites:?}");
    assert!(sites.iter().any(|operands| operands.contains('$')), "constants: {sites:?}");
    assert!(sites.iter().any(|operands| operands.contains("@%")), "registers: {sites:?}");
    assert!(sites.iter().any(|operands| operands.contains('(')), "memory: {sites:?}");
    let started = events(&output, "order_start");
    assert!(started.iter().any(|event| event.text.is_none()));
    assert!(started.iter().any(|event| event.text.as_deref() == Some("")));
    assert!(started.iter().any(|event| event.text.as_ref().is_some_and(|text| text.len() == 253)));
    assert!(started.iter().any(|event| event.text.as_ref().is_some_and(|text| text.len() == 255)));
}

#[test]
fn a_process_that_runs_already_is_recorded_from_then_on() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let (recorded, output) = attached(&program, &all(&program), &["probes"]);
    check_all(&recorded, &output);
}

#[test]
fn a_program_without_symbols_has_its_probes() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop-stripped") else { return };
    let options = probes(&[
        usdt(&program, "order_start", ",arg0:u64,arg1:str,arg2:i32"),
        usdt(&program, "small", ",arg0:i8,arg1:u8,arg2:i16,arg3:u16,arg4:i32,arg5:u32"),
    ]);
    let recorder = Record::trace("custom").options(options);
    let recorded = recorder.workload("shop-stripped", ["probes"]).run();
    recorded.assert_nothing_lost();
    let events = [events(recorded.stdout(), "order_start"), events(recorded.stdout(), "small")];
    let expected = events.map(|events| events.len());
    assert_eq!(counts(&recorded).into_values().collect::<Vec<_>>(), expected);
}

/// A variable of the program, which the note names, may be read; or it is said that it cannot.
#[test]
fn an_argument_that_is_a_variable_is_read_or_refused() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let place = operands(&program, "total").remove(0);
    assert!(place.contains("total(%rip)") || cfg!(not(target_arch = "x86_64")), "{place}");
    let options = probes(&[usdt(&program, "total", ",arg0:i32"), usdt(&program, "bare", "")]);
    let recorder = Record::trace_aloud("custom").options(options);
    let recorded = recorder.workload("shop", ["probes"]).start().finish_anyhow();
    let (stdout, stderr) = (recorded.stdout(), &recorded.ended.stderr);
    assert!(recorded.ended.status.success(), "{stderr}");
    assert_hits(&hits(&recorded, "bare"), &events(stdout, "bare"), numbers);
    let events = events(stdout, "total");
    assert!(events.iter().any(|event| event.args[0] < 0));
    let begin = format!("record: probe `{}`: ", usdt(&program, "total", ",arg0:i32"));
    match stderr.lines().find_map(|line| line.strip_prefix(&begin)) {
        Some(why) => assert!(why.contains(&place) && hits(&recorded, "total").is_empty(), "{why}"),
        None => assert_hits(&hits(&recorded, "total"), &events, numbers),
    }
}

#[test]
fn arguments_can_be_left_out_and_be_in_any_order() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let options = probes(&[
        usdt(&program, "order_start", ",arg2:i32,name=amounts"),
        usdt(&program, "order_start", ",arg1:str,arg0:u64,arg1:str,name=twice"),
        usdt(&program, "order_start", ",name=nothing"),
    ]);
    let (recorded, output) = commanded(&program, &options, &["probes"]);
    let events = events(&output, "order_start");
    assert_hits(&hits(&recorded, "amounts"), &events, |event| {
        (vec![(0, event.args[1])], Vec::new())
    });
    assert_hits(&hits(&recorded, "twice"), &events, |event| {
        (vec![(1, event.args[0])], vec![(0, event.text.clone()), (2, event.text.clone())])
    });
    assert_hits(&hits(&recorded, "nothing"), &events, |_| (Vec::new(), Vec::new()));
}

#[test]
fn stacks_show_which_site_it_was() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let options = probes(&[
        usdt(&program, "order_start", ",stack"),
        usdt(&program, "small", ",arg0:i8,stack"),
        usdt(&program, "bare", ""),
    ]);
    let (recorded, output) = commanded(&program, &options, &["probes"]);
    let stacks = Stacks::read(&recorded);
    for name in ["order_start", "small"] {
        let found: Vec<String> = hits(&recorded, name)
            .iter()
            .map(|hit| stacks.innermost(hit.stack.expect("a stack")).to_owned())
            .collect();
        let sites: Vec<String> =
            events(&output, name).into_iter().map(|event| event.site).collect();
        assert_eq!(found, sites);
        assert!(sites.iter().collect::<BTreeSet<_>>().len() > 1, "several sites: {sites:?}");
    }
    assert!(hits(&recorded, "bare").iter().all(|hit| hit.stack.is_none()));
}

#[test]
fn many_threads_are_recorded_one_by_one() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let options = probes(&[
        usdt(&program, "order_start", ",arg0:u64,arg1:str,arg2:i32"),
        usdt(&program, "order_done", ",arg0:u64,arg1:i32"),
    ]);
    let (recorded, output) = commanded(&program, &options, &["orders", "8", "200"]);
    let (started, done) = (events(&output, "order_start"), events(&output, "order_done"));
    assert_eq!(started.len(), done.len() + 8);
    assert_hits(&hits(&recorded, "order_start"), &started, order);
    assert_hits(&hits(&recorded, "order_done"), &done, numbers);
}

/// A line of `shop audit`.
fn audit(running: &mut Running, lines: usize) -> (i32, i32) {
    running.send_line();
    let output = wait_for("an audit", || {
        let output = running.output_so_far();
        let said = output.matches("\naudited ").count();
        (said == lines && output.ends_with('\n')).then_some(output)
    });
    let fact = facts(&output, "audited").pop().unwrap();
    assert_eq!(fact.int("enabled") + fact.int("disabled"), 100);
    (fact.int32("enabled"), fact.int32("semaphore"))
}

/// A program asks whether anybody listens. It is told so while the recorder is there, and no longer.
fn check_semaphore(signal: i32) {
    let Some(copy) = Copy::new() else { return };
    let options = probes(&[usdt(&copy.program(), "audit", ",arg0:i32")]);
    let mut running = Running::start(Command::new(copy.program()).arg("audit"));
    running.await_line("auditing");
    assert_eq!(audit(&mut running, 1), (0, 0));
    let mut recorder = Record::trace("custom").options(&options).pid(running.pid()).start();
    recorder.looked_around();
    assert_eq!(audit(&mut running, 2), (100, 1));
    // What a recorder that is killed has is what went to the disk.
    if signal == libc::SIGKILL {
        recorder.running.signal(signal);
        wait_for("the recorder's end", || recorder.running.has_ended().then_some(()));
        wait_for("the probes to go", || (audit_until_off(&mut running)).then_some(()));
    } else {
        recorder.running.signal(signal);
        let recorded = recorder.finish();
        recorded.assert_nothing_lost();
        assert_eq!(audit(&mut running, 3), (0, 0));
        let ended = running.end();
        assert!(ended.status.success(), "{ended:?}");
        assert_hits(&hits(&recorded, "audit"), &events(&ended.stdout, "audit"), numbers);
        return;
    }
    assert!(running.end().status.success());
}

/// Whether the next audit finds nobody.
fn audit_until_off(running: &mut Running) -> bool {
    let lines = running.output_so_far().matches("\naudited ").count();
    audit(running, lines + 1) == (0, 0)
}

#[test]
fn a_semaphore_is_up_while_it_is_recorded() {
    let Some(_turn) = shared(&["custom"]) else { return };
    check_semaphore(libc::SIGINT);
}

#[test]
fn a_semaphore_is_down_again_when_the_recorder_was_killed() {
    let Some(_turn) = shared(&["custom"]) else { return };
    check_semaphore(libc::SIGKILL);
}

#[test]
fn a_semaphore_is_up_from_the_first_instruction_of_a_command() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(copy) = Copy::new() else { return };
    let options = probes(&[usdt(&copy.program(), "audit", ",arg0:i32")]);
    let mut recorder = Record::trace("custom")
        .options(&options)
        .options(["--".as_ref(), copy.program().as_os_str(), "audit".as_ref()])
        .start();
    recorder.running.await_line("auditing");
    assert_eq!(audit(&mut recorder.running, 1), (100, 1));
    recorder.running.close_input();
    let recorded = recorder.finish();
    assert_hits(&hits(&recorded, "audit"), &events(recorded.stdout(), "audit"), numbers);
}

#[test]
fn a_library_that_comes_later_is_recorded() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(copy) = Copy::new() else { return };
    let options = probes(&[
        usdt(&copy.library(), "lib_order", ",arg0:u64,arg1:str"),
        usdt(&copy.library(), "lib_audit", ",arg0:i32"),
        format!("uprobe:{}:shoplib_function,arg0:i64", copy.library().display()),
    ]);
    let check = |recorded: &Recorded, output: &str| {
        assert_hits(&hits(recorded, "lib_order"), &events(output, "lib_order"), |event| {
            (vec![(0, event.args[0])], vec![(1, event.text.clone())])
        });
        assert_eq!(events(output, "lib_audit").len(), 7, "its semaphore was up");
        for name in ["lib_audit", "shoplib_function"] {
            assert_hits(&hits(recorded, name), &events(output, name), numbers);
        }
    };
    // Loaded after the recorder has attached.
    let (mut running, recorder) = attach(&copy.program(), &options, &["late", "7"]);
    running.send_line();
    running.await_line("loaded");
    running.send_line();
    let ended = running.end();
    assert!(ended.status.success(), "{ended:?}");
    check(&recorder.finish(), &ended.stdout);

    let (recorded, output) = commanded(&copy.program(), &options, &["late", "7"]);
    check(&recorded, &output);
}

/// Since 6.0 the program waits for it; before, the text is unknown.
#[test]
fn a_text_that_is_not_in_memory_is_fetched() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(copy) = Copy::new() else { return };
    let options = probes(&[usdt(&copy.library(), "lib_cold", ",arg0:str,arg0:u64")]);
    let (recorded, output) = commanded(&copy.program(), &options, &["late", "1"]);
    let hits = hits(&recorded, "lib_cold");
    assert_eq!(hits.len(), events(&output, "lib_cold").len());
    for hit in hits {
        assert_ne!(hit.args[1], Some(0));
        assert_eq!(
            hit.texts[0],
            (kernel_version() >= (6, 0)).then(|| "cold".to_owned()),
            "{hit:?}"
        );
    }
}

#[test]
fn a_process_that_starts_later_is_recorded() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    // Processes that are no shop come first.
    let script = format!("/bin/true; {} probes; /bin/true", program.display());
    let recorder = Record::trace("custom").options(all(&program));
    let recorded = recorder.options(["--", "/bin/sh", "-c", &script]).run();
    recorded.assert_nothing_lost();
    check_all(&recorded, recorded.stdout());
}

#[test]
fn other_processes_of_the_program_are_not_recorded() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let (mut running, recorder) = attach(&program, &all(&program), &["probes"]);
    let other = run(Command::new(&program).arg("probes"));
    assert!(other.status.success());
    running.send_line();
    let ended = running.end();
    let recorded = recorder.finish();
    let pid = fact(&ended.stdout, "shop").int32("pid");
    assert!(hits(&recorded, "bare").iter().all(|hit| hit.pid == pid));
    check_all(&recorded, &ended.stdout);
}

#[test]
fn what_is_listed_can_be_asked_for() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let pattern = format!("usdt:{}:*", program.display());
    let listed = run(Command::new(RECORD).args(["--list-probes", &pattern]));
    assert!(listed.status.success(), "{}", listed.stderr);
    let lines: BTreeSet<&str> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), listed.stdout.lines().count(), "each once: {}", listed.stdout);
    let names: BTreeSet<&str> = lines
        .iter()
        .map(|line| {
            let rest = line.strip_prefix(&format!("usdt:{}:shop:", program.display()));
            rest.unwrap_or_else(|| panic!("{line}")).split([',', ' ']).next().unwrap()
        })
        .collect();
    let expected = ["audit", "bare", "large", "order_done", "order_start", "six", "small", "total"];
    assert_eq!(names, expected.into_iter().collect());
    let line = |name: &str| *lines.iter().find(|line| line.contains(&format!(":{name}"))).unwrap();
    assert!(line("small").contains("arg0:i8,arg1:u8,arg2:i16,arg3:u16,arg4:i32,arg5:u32"));
    assert!(line("order_start").contains("arg0:u64") && line("order_start").contains("arg2:i32"));

    let options = probes(&lines.into_iter().collect::<Vec<_>>());
    let (recorded, output) = commanded(&program, &options, &["probes"]);
    for name in ["order_done", "small", "large", "bare"] {
        assert_hits(&hits(&recorded, name), &events(&output, name), numbers);
    }
    for name in ["order_start", "six", "total"] {
        assert_eq!(hits(&recorded, name).len(), events(&output, name).len());
    }
}

#[test]
fn a_recorder_that_is_killed_leaves_the_program_as_it_was() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(copy) = Copy::new() else { return };
    let program = copy.program();
    let mut options = probes(&[
        usdt(&program, "order_start", ",arg0:u64,arg1:str"),
        format!("uprobe:{}:shop_price", program.display()),
        format!("uretprobe:{}:shop_price,retval:i64,name=price", program.display()),
    ]);
    options.push("--span".to_owned());
    options
        .push(format!("price=uprobe:{0}:shop_price..uretprobe:{0}:shop_price", program.display()));
    for signal in [libc::SIGKILL, libc::SIGINT] {
        let (mut running, mut recorder) = attach(&program, &options, &["steady"]);
        let pid = running.pid();
        running.send_line();
        running.await_line("running");
        assert!(changed_code(pid) > 0, "the probes are there");
        recorder.running.signal(signal);
        wait_for("the recorder's end", || recorder.running.has_ended().then_some(()));
        wait_for("the probes to go", || (changed_code(pid) == 0).then_some(()));
        assert!(is_alive(pid));
        let before = progress(&mut running);
        wait_for("more calls", || (progress(&mut running) > before + 10).then_some(()));
        let ended = running.end();
        assert!(ended.status.success(), "{ended:?}");
        if signal != libc::SIGKILL {
            let recorded = recorder.finish();
            recorded.assert_nothing_lost();
            assert!(!hits(&recorded, "order_start").is_empty());
        }
    }
}
