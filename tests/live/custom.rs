//! Probes and spans of the user's (`--probe`, `--span`) on functions, returns, places, tracepoints and
//! the kernel, against a program that notes what it calls.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use lookback_schemas::TableId;

use super::shop::{
    self, Between, Copy, Event, Hit, assert_hits, attach, attached, commanded, counts, events,
    hits, numbers, probes, progress, spans,
};
use super::sites::Stacks;
use super::{alone, has_tracefs, shared};
use crate::recording::{RECORD, Record, Recorded, is_absent};
use crate::running::{Ended, in_vm, kernel_version, run, wait_for};
use crate::workload::{self, Fact, facts};

/// A probe on a function of the program.
fn uprobe(program: &Path, rest: &str) -> String {
    format!("uprobe:{}:{rest}", program.display())
}

fn uretprobe(program: &Path, rest: &str) -> String {
    format!("uretprobe:{}:{rest}", program.display())
}

/// How often `shop calls` calls a function within itself.
const RECURSION: i32 = 12;

// --- Functions ---

#[test]
fn calls_have_their_arguments_and_returns_their_values() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let options = |at: &str| {
        probes(&[
            uprobe(&program, "shop_price,arg0:i32,arg1:i64,arg2:str"),
            uretprobe(&program, &format!("shop_price,retval:i64{at},name=price")),
        ])
    };
    for (recorded, output) in [
        commanded(&program, &options(""), &["calls", "100"]),
        attached(&program, &options(""), &["calls", "100"]),
        // On the instructions that return.
        commanded(&program, &options(",at=ret"), &["calls", "100"]),
        attached(&program, &options(",at=ret"), &["calls", "100"]),
    ] {
        let calls = events(&output, "shop_price");
        assert_hits(&hits(&recorded, "shop_price"), &calls, |event| {
            (vec![(0, event.args[0]), (1, event.args[1])], vec![(2, event.text.clone())])
        });
        // A return is seen after the function, and before the program says that it has its value.
        let prices: Vec<Event> = std::iter::zip(calls, events(&output, "price"))
            .map(|(call, price)| Event { args: price.args, ..call })
            .collect();
        assert_hits(&hits(&recorded, "price"), &prices, numbers);
        assert!(prices.iter().any(|event| event.args[0] < i64::from(i32::MIN)));
        assert_eq!(counts(&recorded).len(), 2);
    }
}

#[test]
fn a_text_that_is_returned_is_read() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let options = probes(&[uretprobe(&program, "shop_name,retval:str,retval:ptr,name=names")]);
    let (recorded, output) = commanded(&program, &options, &["calls", "1"]);
    // It is called twice for each of the events: to know the text, and for that.
    let events = events(&output, "shop_name");
    let names: Vec<Option<String>> =
        hits(&recorded, "names").iter().map(|hit| hit.texts[0].clone()).collect();
    let expected: Vec<Option<String>> =
        events.iter().flat_map(|event| [event.text.clone(), event.text.clone()]).collect();
    assert_eq!(names, expected);
    assert!(names.contains(&None) && names.contains(&Some("Äpfel".to_owned())));
    for hit in hits(&recorded, "names") {
        assert_eq!(hit.args[1] == Some(0), hit.texts[0].is_none(), "{hit:?}");
    }
}

#[test]
fn every_return_of_a_function_that_calls_itself_is_recorded() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let options = probes(&[
        uprobe(&program, "shop_recurse,arg0:i32"),
        uretprobe(&program, "shop_recurse,retval:i32,name=returned"),
        uretprobe(&program, "shop_recurse,retval:i32,at=ret,name=at_ret"),
    ]);
    let (recorded, output) = commanded(&program, &options, &["calls", "1"]);
    let first = |name: &str| -> Vec<i64> {
        hits(&recorded, name).iter().map(|hit| hit.args[0].unwrap()).collect()
    };
    let times = events(&output, "shop_recurse").len();
    let calls: Vec<i64> = (0..times).flat_map(|_| (0..=i64::from(RECURSION)).rev()).collect();
    let returns: Vec<i64> =
        (0..times).flat_map(|_| (0..=i64::from(RECURSION)).map(|depth| 2 * depth - 1)).collect();
    assert_eq!(first("shop_recurse"), calls);
    assert_eq!(first("returned"), returns);
    assert_eq!(first("at_ret"), returns);
}

#[test]
fn places_are_named_by_their_address_or_their_distance_from_a_function() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    // The addresses are the same each time.
    let said = run(Command::new(&program).args(["calls", "0"])).stdout;
    let address = |name: &str| -> Fact {
        let mut all = facts(&said, "address").into_iter();
        all.find(|fact| fact.word("name") == name).unwrap()
    };
    let offset = address("shop_around").int("offset");
    assert!(offset > 0);
    let options = probes(&[
        uprobe(&program, &format!("{},arg0:i32,name=by_address", address("shop_price").word("at"))),
        uprobe(&program, &format!("shop_around+{offset},name=middle")),
        uprobe(&program, &format!("shop_around+{offset:#x},name=hex")),
        uprobe(&program, "shop_around+0,arg0:i32,name=begin"),
    ]);
    let (recorded, output) = commanded(&program, &options, &["calls", "50"]);
    let prices = events(&output, "shop_price");
    assert_hits(&hits(&recorded, "by_address"), &prices, |event| {
        (vec![(0, event.args[0])], Vec::new())
    });
    let around = events(&output, "shop_around");
    assert_hits(&hits(&recorded, "begin"), &around, numbers);
    let even: Vec<Event> = around.into_iter().filter(|event| event.args[0] % 2 == 0).collect();
    assert_eq!(even.len(), 25);
    for name in ["middle", "hex"] {
        assert_hits(&hits(&recorded, name), &even, |_| (Vec::new(), Vec::new()));
    }
}

#[test]
fn one_place_can_have_several_probes() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let options = probes(&[
        uprobe(&program, "shop_price,arg0:i32,name=one"),
        uprobe(&program, "shop_price,arg1:i64,stack,name=two"),
        uretprobe(&program, "shop_price,name=three"),
    ]);
    let (recorded, output) = commanded(&program, &options, &["calls", "30"]);
    let calls = events(&output, "shop_price");
    for (name, argument) in [("one", 0), ("two", 1)] {
        assert_hits(&hits(&recorded, name), &calls, |event| {
            (vec![(0, event.args[argument])], Vec::new())
        });
    }
    assert_hits(&hits(&recorded, "three"), &calls, |_| (Vec::new(), Vec::new()));
    let stacks = Stacks::read(&recorded);
    for hit in hits(&recorded, "two") {
        assert_eq!(stacks.innermost(hit.stack.unwrap()), "shop_price");
    }
    assert!(hits(&recorded, "one").iter().all(|hit| hit.stack.is_none()));
}

#[test]
fn two_hundred_probes_at_once_are_counted_one_by_one() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let pattern = uprobe(&program, "many_*");
    let listed = run(Command::new(RECORD).args(["--list-probes", &pattern]));
    assert!(listed.status.success(), "{}", listed.stderr);
    let listed: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(listed.len(), 200);
    let (recorded, output) = commanded(&program, &probes(&listed), &["many"]);
    let expected: BTreeMap<String, usize> = facts(&output, "called")
        .iter()
        .map(|fact| (fact.word("name").to_owned(), fact.int("count") as usize))
        .collect();
    assert_eq!(expected.len(), 200);
    assert_eq!(counts(&recorded), expected);
}

#[test]
fn children_are_recorded_unless_they_are_not_followed() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let options = probes(&[uprobe(&program, "shop_price,arg0:i32,arg1:i64")]);
    let (recorded, output) = commanded(&program, &options, &["children", "5"]);
    let all = events(&output, "shop_price");
    // It, its child, and what the child's child became.
    let mut pids: Vec<i32> = all.iter().map(|event| event.pid).collect();
    pids.dedup();
    assert_eq!((all.len(), pids.len()), (15, 3));
    assert_hits(&hits(&recorded, "shop_price"), &all, numbers);

    let options = [&options[..], &["--no-follow".to_owned()]].concat();
    for (recorded, output) in [
        commanded(&program, &options, &["children", "5"]),
        attached(&program, &options, &["children", "5"]),
    ] {
        let pid = first_pid(&output);
        let own: Vec<Event> =
            events(&output, "shop_price").into_iter().filter(|event| event.pid == pid).collect();
        assert_eq!(own.len(), 5);
        assert_hits(&hits(&recorded, "shop_price"), &own, numbers);
    }
}

/// The pid of the program that was started, which says it first.
fn first_pid(output: &str) -> i32 {
    facts(output, "shop")[0].int32("pid")
}

// --- Spans ---

/// The span between an order's begin and its end.
fn order_span(program: &Path, key: &str) -> Vec<String> {
    let program = program.display();
    let ends = ["order_start", "order_done"].map(|name| format!("usdt:{program}:shop:{name}{key}"));
    vec!["--span".to_owned(), format!("order={}..{}", ends[0], ends[1])]
}

/// A span that happened: the begin, and the end if there was one, and how deep it lay.
type Made = (Event, Option<Event>, i32);

/// Fails unless these spans were recorded, with their times.
fn assert_spans(spans: &[Between], made: &[Made], key: impl Fn(&Event) -> Option<i64>) {
    for (span, (start, end, depth)) in spans.iter().zip(made) {
        let what = format!("{span:?}: {start:?} to {end:?}");
        assert_eq!((span.pid, span.tid), (start.pid, start.tid), "{what}");
        assert!((start.began..=start.ended).contains(&span.began), "{what}");
        assert_eq!(span.ended.is_some(), end.is_some(), "{what}");
        assert_eq!(span.end_tid, end.as_ref().map(|end| end.tid), "{what}");
        if let (Some(ended), Some(end)) = (span.ended, end) {
            assert!((end.began..=end.ended).contains(&ended), "{what}");
        }
        assert_eq!((span.key, span.depth), (key(start), *depth), "{what}");
    }
    assert_eq!(spans.len(), made.len(), "each is recorded once");
}

#[test]
fn spans_nest_and_take_as_long_as_the_program_says() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    for (recorded, output) in [
        commanded(&program, &order_span(&program, ""), &["orders", "6", "100"]),
        attached(&program, &order_span(&program, ""), &["orders", "6", "100"]),
    ] {
        // In each thread, an end belongs to the last begin.
        let mut both: Vec<(bool, Event)> = Vec::new();
        both.extend(events(&output, "order_start").into_iter().map(|event| (true, event)));
        both.extend(events(&output, "order_done").into_iter().map(|event| (false, event)));
        both.sort_by_key(|(_, event)| event.began);
        let mut made: Vec<Made> = Vec::new();
        let mut open: HashMap<i32, Vec<usize>> = HashMap::new();
        for (starts, event) in both {
            let open = open.entry(event.tid).or_default();
            if starts {
                open.push(made.len());
                made.push((event, None, open.len() as i32 - 1));
            } else {
                made[open.pop().unwrap()].1 = Some(event);
            }
        }
        made.sort_by_key(|(start, ..)| (start.pid, start.tid, start.began));
        assert_eq!(
            made.iter().filter(|(_, end, _)| end.is_none()).count(),
            6,
            "one of each thread"
        );
        assert!(made.iter().any(|(.., depth)| *depth == 2), "some nest");
        assert_spans(&spans(&recorded, "order", Some("shop")), &made, |_| None);
        assert_eq!(counts(&recorded), BTreeMap::new(), "a span's probes have no rows");
    }
}

#[test]
fn spans_with_a_key_are_ended_by_any_thread() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let options = order_span(&program, ",key=arg0");
    for (recorded, output) in [
        commanded(&program, &options, &["relay", "500"]),
        attached(&program, &options, &["relay", "500"]),
    ] {
        let mut ends: HashMap<i64, Event> =
            events(&output, "order_done").into_iter().map(|end| (end.args[0], end)).collect();
        let made: Vec<Made> = events(&output, "order_start")
            .into_iter()
            .map(|start| {
                let end = ends.remove(&start.args[0]);
                (start, end, 0)
            })
            .collect();
        assert!(ends.is_empty());
        assert_eq!((made.len(), made.iter().filter(|(_, end, _)| end.is_none()).count()), (500, 1));
        let spans: Vec<Between> = spans(&recorded, "order", Some("shop"))
            .into_iter()
            // What nesting would mean here is not said.
            .map(|span| Between { depth: 0, ..span })
            .collect();
        assert_spans(&spans, &made, |start| Some(start.args[0]));
        let others = |span: &Between| span.end_tid.is_some_and(|tid| tid != span.tid);
        assert_eq!(spans.iter().filter(|span| others(span)).count(), 499);
    }
}

#[test]
fn a_span_of_a_function_is_each_of_its_calls() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let span = |name: &str, function: &str| {
        let ends = [uprobe(&program, function), uretprobe(&program, function)];
        ["--span".to_owned(), format!("{name}={}..{}", ends[0], ends[1])]
    };
    let mut options = [span("price", "shop_price"), span("recursion", "shop_recurse")].concat();
    options.extend(probes(&[uprobe(&program, "shop_price,arg0:i32")]));
    let (recorded, output) = commanded(&program, &options, &["calls", "40"]);
    let calls = events(&output, "shop_price");
    let prices: Vec<Made> =
        calls.iter().map(|call| (call.clone(), Some(call.clone()), 0)).collect();
    assert_spans(&spans(&recorded, "price", Some("shop")), &prices, |_| None);
    // As deep as spans are kept.
    let recursions: Vec<Made> = events(&output, "shop_recurse")
        .iter()
        .flat_map(|call| (0..=RECURSION).map(|depth| (call.clone(), Some(call.clone()), depth)))
        .collect();
    let found = spans(&recorded, "recursion", Some("shop"));
    assert_spans(&found, &recursions, |_| None);
    for pair in found.windows(2).filter(|pair| pair[1].depth > 0) {
        assert!(pair[0].ended > pair[1].ended, "the inner ends first: {pair:?}");
    }
    assert_hits(&hits(&recorded, "shop_price"), &calls, |event| {
        (vec![(0, event.args[0])], Vec::new())
    });
}

#[test]
fn a_span_that_still_lasts_when_the_recording_ends_has_no_end() {
    let Some(_turn) = shared(&["custom"]) else { return };
    // Since 6.13 the kernel cannot take away a probe while a thread is in a function whose return is probed,
    // and comes by other such returns all the time (`ri_timer` in kernel/events/uprobes.c): those of other
    // tests must not be in its way.
    let Some(copy) = Copy::new() else { return };
    let program = copy.program();
    // It begins orders all the time, and does none.
    let mut options = order_span(&program, ",key=arg0");
    let ends = [uprobe(&program, "call_steadily"), uretprobe(&program, "call_steadily")];
    options.extend(["--span".to_owned(), format!("all={}..{}", ends[0], ends[1])]);
    let (mut running, recorder) = attach(&program, &options, &["steady"]);
    running.send_line();
    running.await_line("running");
    let first = progress(&mut running);
    let last =
        wait_for("calls", || Some(progress(&mut running)).filter(|calls| *calls > first + 20));
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish();
    let after = progress(&mut running);
    assert!(running.end().status.success());
    recorded.assert_nothing_lost();
    let orders = spans(&recorded, "order", Some("shop"));
    let whole = spans(&recorded, "all", Some("shop"));
    assert_eq!(whole.len(), 1);
    let count = orders.len() as i64;
    assert!((last..=after + 1).contains(&count), "{last} to {after} orders, {count} rows");
    for (span, number) in std::iter::zip(&orders, 1..) {
        assert_eq!((span.key, span.tid), (Some(number), whole[0].tid));
    }
    for span in orders.iter().chain(&whole) {
        assert_eq!((span.ended, span.end_tid), (None, None), "{span:?}");
    }
}

/// Spans that lie too deep may be lost, but those that are there have the right ends.
#[test]
fn spans_that_lie_deep_have_their_own_ends_or_are_counted_as_lost() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let ends = [uprobe(&program, "shop_recurse"), uretprobe(&program, "shop_recurse")];
    let mut options = vec!["--span".to_owned(), format!("call={}..{}", ends[0], ends[1])];
    options.extend(probes(&[&ends[0], &format!("{},name=returned", ends[1])]));
    let recorder = Record::trace("custom").options(options);
    let recorded = recorder.workload("shop", ["deep", "40"]).run();
    let at = |name: &str| -> Vec<i64> { hits(&recorded, name).iter().map(|hit| hit.at).collect() };
    let (calls, returns) = (at("shop_recurse"), at("returned"));
    assert_eq!((calls.len(), returns.len()), (41, 41));
    let spans = spans(&recorded, "call", Some("shop"));
    assert!(spans.len() >= 16);
    assert_eq!(spans.len() as u64 + recorded.lost(TableId::Span), 41);
    for (span, depth) in std::iter::zip(&spans, 0..) {
        // In it lie all calls that are deeper; whether its own counts, too, nobody knows.
        let ended = span.ended.expect("an end");
        let within = |times: &[i64]| {
            times.iter().filter(|time| (span.began..=ended).contains(*time)).count() as i32
        };
        assert_eq!(span.depth, depth, "{spans:#?}");
        for inside in [within(&calls), within(&returns)] {
            assert!((40 - depth..=41 - depth).contains(&inside), "{inside} in {span:?}");
        }
    }
}

/// Since 6.13 the kernel takes no probe away while a thread is in a function whose return is probed, and
/// comes by other such returns all the time (`ri_timer` in `kernel/events/uprobes.c`).
#[test]
fn a_long_call_with_many_short_ones_in_it_does_not_hold_up_the_end() {
    // On some kernels nobody can take a probe away meanwhile.
    let Some(_turn) = alone(&["custom"]) else { return };
    let Some(copy) = Copy::new() else { return };
    let program = copy.program();
    let options = probes(&[
        uretprobe(&program, "shop_price,retval:i64"),
        uretprobe(&program, "call_steadily,name=all"),
    ]);
    let (mut running, recorder) = attach(&program, &options, &["steady"]);
    running.send_line();
    running.await_line("running");
    let first = progress(&mut running);
    wait_for("calls", || (progress(&mut running) > first + 100).then_some(()));
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish();
    let last = progress(&mut running);
    assert!(running.end().status.success());
    let count = hits(&recorded, "shop_price").len() as i64;
    assert!((first..=last + 1).contains(&count), "{count} of {last} calls");
}

// --- The kernel ---

/// Fails unless all writes of `shop writes N` were recorded, and no other of that file.
fn check_writes(
    recorded: &Recorded,
    output: &str,
    name: &str,
    of: impl Fn(&Event) -> shop::Values,
) {
    let events = events(output, "write");
    let fds: Vec<i64> = events.iter().map(|event| event.args[0]).collect();
    let hits: Vec<Hit> = hits(recorded, name)
        .into_iter()
        .filter(|hit| fds.contains(&hit.args[0].expect("a file's number")))
        .collect();
    assert_hits(&hits, &events, of);
}

/// The file's number, how much, and the text.
fn write_call(event: &Event) -> shop::Values {
    (vec![(0, event.args[0]), (1, event.args[1])], vec![(2, event.text.clone())])
}

/// Fails unless the values that were returned are those of the writes. Other writes are at other times.
fn check_results(recorded: &Recorded, output: &str, name: &str) {
    let expected: Vec<i64> = events(output, "write").iter().map(|event| event.args[2]).collect();
    assert!(expected.contains(&-i64::from(libc::EBADF)));
    let spans: Vec<(i64, i64)> =
        events(output, "write").iter().map(|event| (event.began, event.ended)).collect();
    let found: Vec<i64> = hits(recorded, name)
        .iter()
        .filter(|hit| spans.iter().any(|(began, ended)| (began..=ended).contains(&&hit.at)))
        .map(|hit| hit.args[0].unwrap())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn tracepoints_have_their_fields() {
    let Some(_turn) = shared(&["custom"]) else { return };
    if !has_tracefs() {
        return;
    }
    let Some(program) = shop::program("shop") else { return };
    let options = probes(&[
        "tracepoint:syscalls:sys_enter_write,fd:u32,count:u64,buf:str,stack,name=write",
        "tracepoint:syscalls:sys_exit_write,ret:i64",
    ]);
    for (recorded, output) in [
        commanded(&program, &options, &["writes", "100"]),
        attached(&program, &options, &["writes", "100"]),
    ] {
        check_writes(&recorded, &output, "write", write_call);
        check_results(&recorded, &output, "sys_exit_write");
        let stacks = Stacks::read(&recorded);
        for hit in hits(&recorded, "write") {
            let stack = hit.stack.unwrap();
            assert!(!stacks.innermost(stack).is_empty(), "{hit:?} at {:?}", stacks.calls(stack));
        }
    }
}

#[test]
fn texts_of_tracepoints_are_read() {
    let Some(_turn) = shared(&["custom"]) else { return };
    if !has_tracefs() {
        return;
    }
    let pattern = "tracepoint:sched:sched_process_*";
    let listed = run(Command::new(RECORD).args(["--list-probes", pattern]));
    assert!(listed.status.success(), "{}", listed.stderr);
    let line = |name: &str| -> String {
        let begin = format!("tracepoint:sched:{name}");
        let mut lines = listed.stdout.lines();
        let line = lines.find(|line| line.split([',', ' ']).next() == Some(begin.as_str()));
        line.unwrap_or_else(|| panic!("{name} in {}", listed.stdout)).to_owned()
    };
    let (exec, fork) = (line("sched_process_exec"), line("sched_process_fork"));
    assert!(exec.contains("filename:") && exec.contains("pid:i32"), "{exec}");
    assert!(fork.contains("child_pid:i32"), "{fork}");

    let options = probes(&[
        "tracepoint:sched:sched_process_exec,filename:str,pid:i32,kstack",
        "tracepoint:sched:sched_process_fork,parent_pid:i32,child_pid:i32",
        exec.as_str(),
    ]);
    let quiet = workload::path("quiet").display().to_string();
    let script = format!("echo pid=$$; {quiet}; {quiet} again; /bin/true");
    let recorder = Record::trace("custom").options(options);
    let recorded = recorder.options(["--", "/bin/sh", "-c", &script]).run();
    recorded.assert_nothing_lost();
    let shell: i64 = recorded.stdout().trim().strip_prefix("pid=").unwrap().parse().unwrap();
    let mut forks = hits(&recorded, "sched_process_fork");
    forks.sort_by_key(|hit| hit.at);
    assert!(forks.iter().all(|hit| hit.args[0] == Some(shell)), "{forks:?}");
    let children: Vec<i64> = forks.iter().map(|hit| hit.args[1].unwrap()).collect();
    assert!(children.len() >= 2, "{forks:?}");

    // The one that was listed has another order of columns.
    let execs: Vec<Hit> = hits(&recorded, "sched_process_exec")
        .into_iter()
        .filter(|hit| hit.texts[0].is_some() && hit.args[1] == Some(i64::from(hit.pid)))
        .collect();
    let of = |child: i64| -> Vec<&str> {
        let of_child = execs.iter().filter(|hit| i64::from(hit.pid) == child);
        of_child.map(|hit| hit.texts[0].as_deref().unwrap()).collect()
    };
    assert!(of(children[0]).contains(&quiet.as_str()), "{execs:?}");
    assert!(of(children[1]).contains(&quiet.as_str()), "{execs:?}");
    assert!(execs.iter().any(|hit| hit.texts[0].as_deref().unwrap().ends_with("/bin/true")));
    assert!(execs.iter().any(|hit| hit.kernel_stack.is_some()));
}

/// Records `shop writes 100` with these probes of the kernel, or says why that cannot be here. Under the
/// kernels of `tests/kernels` it can.
fn with_kernel_probes(program: &Path, wanted: &[&str]) -> Option<(Recorded, String)> {
    let recorder = Record::trace("custom").options(probes(wanted));
    let recorder = recorder.options(["--".as_ref(), program.as_os_str()]);
    match recorder.options(["writes", "100"]).start().finish_if_recorded() {
        Ok(recorded) => {
            assert!(recorded.ended.status.success(), "{}", recorded.ended.stderr);
            recorded.assert_nothing_lost();
            let output = recorded.stdout().to_owned();
            Some((recorded, output))
        }
        Err(Ended { status, stderr, .. }) => {
            assert_eq!(status.code(), Some(2), "{stderr}");
            assert!(stderr.lines().all(|line| line.starts_with("record: ")), "{stderr}");
            assert!(!in_vm(), "these kernels have them: {stderr}");
            eprintln!("left out: {}", stderr.trim());
            None
        }
    }
}

#[test]
fn functions_of_the_kernel_are_probed() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let entry = "ksys_write,arg0:u32,arg2:u64,arg1:str,stack,kstack";
    for (enter, leave) in [("kprobe", "kretprobe"), ("fentry", "fexit")] {
        let wanted = [
            format!("{enter}:{entry},name=write"),
            format!("{leave}:ksys_write,retval:i64,name=written"),
        ];
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let Some((recorded, output)) = with_kernel_probes(&program, &wanted) else { continue };
        check_writes(&recorded, &output, "write", write_call);
        check_results(&recorded, &output, "written");
        let stacks = Stacks::read(&recorded);
        // In 7.3 the frame of a function is missing that a trampoline calls, for the sake of fexit.
        let seen =
            if enter == "fentry" && kernel_version() >= (7, 0) { "syscall" } else { "write" };
        for hit in hits(&recorded, "write") {
            let kernel = stacks.names(hit.kernel_stack.expect("a stack of the kernel"));
            assert!(kernel.iter().any(|name| name.contains(seen)), "{kernel:?}");
            assert!(hit.stack.is_some());
        }
    }
}

#[test]
fn a_span_of_the_kernel_is_each_call() {
    let Some(_turn) = shared(&["custom"]) else { return };
    if !has_tracefs() {
        return;
    }
    let Some(program) = shop::program("shop") else { return };
    let ends = "tracepoint:syscalls:sys_enter_write..tracepoint:syscalls:sys_exit_write";
    let options = ["--span".to_owned(), format!("write={ends}")];
    let (recorded, output) = commanded(&program, &options, &["writes", "100"]);
    let spans = spans(&recorded, "write", Some("shop"));
    let made: Vec<Made> =
        events(&output, "write").into_iter().map(|event| (event.clone(), Some(event), 0)).collect();
    let found: Vec<Between> = spans
        .into_iter()
        .filter(|span| {
            let within = |event: &Event| (event.began..=event.ended).contains(&span.began);
            made.iter().any(|(event, ..)| within(event))
        })
        .collect();
    assert_spans(&found, &made, |_| None);
}

// --- What cannot be ---

#[test]
fn a_probe_that_cannot_be_is_said_and_the_others_go_on() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let (Some(program), Some(stripped)) = (shop::program("shop"), shop::program("shop-stripped"))
    else {
        return;
    };
    let file = program.display();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/workloads/shop.c");
    let bad: Vec<(String, &[&str])> = vec![
        (uprobe(&program, "no_such_function"), &["no function", "no_such_function"]),
        (uretprobe(&program, "shop_pricey,retval:i64"), &["no function", "shop_pricey"]),
        (uprobe(&stripped, "shop_price"), &["stripped"]),
        (format!("usdt:{file}:shop:no_such_probe"), &["no probe", "no_such_probe"]),
        (format!("usdt:{file}:market:order_start"), &["no probe", "market"]),
        (uprobe(Path::new("/nonexistent/file"), "main"), &["/nonexistent/file", "o such file"]),
        (format!("usdt:{source}:shop:order_start"), &["shop.c"]),
        (uprobe(&program, "shop_price,arg0:float"), &["type", "float"]),
        (uprobe(&program, "shop_price,retval:i64"), &["retval"]),
        (format!("usdt:{file}:shop:order_done,arg7:u64"), &["arg7"]),
        ("tracepoint:sched:no_such_event".to_owned(), &["no_such_event"]),
        ("tracepoint:sched:sched_process_exec,nothing:u32".to_owned(), &["nothing"]),
        ("kprobe:no_such_function_of_the_kernel".to_owned(), &[]),
    ];
    let good = [uprobe(&program, "shop_price,arg0:i32"), format!("usdt:{file}:shop:order_start")];
    let options = probes(
        &[&good[..1], &bad.iter().map(|(probe, _)| probe.clone()).collect::<Vec<_>>(), &good[1..]]
            .concat(),
    );
    let recorder = Record::trace_aloud("custom").options(options);
    let recorded = recorder.workload("shop", ["calls", "10"]).start().finish_anyhow();
    assert_eq!(recorded.ended.status.code(), Some(0), "{}", recorded.ended.stderr);
    let said = recorded.ended.stderr.lines().filter(|line| line.starts_with("record: probe `"));
    let lines: Vec<&str> = said.collect();
    for (probe, reasons) in &bad {
        let begin = format!("record: probe `{probe}`: ");
        let of_it: Vec<&&str> = lines.iter().filter(|line| line.starts_with(&begin)).collect();
        assert_eq!(of_it.len(), 1, "{probe} in {lines:#?}");
        for reason in *reasons {
            assert!(of_it[0].contains(reason), "`{reason}` in {of_it:?}");
        }
    }
    assert_eq!(lines.len(), bad.len(), "{lines:#?}");
    let calls = events(recorded.stdout(), "shop_price");
    assert_hits(&hits(&recorded, "shop_price"), &calls, |event| {
        (vec![(0, event.args[0])], Vec::new())
    });

    // The manifest says the same.
    let tracers = &recorded.recording.manifest().tracers;
    let custom = tracers.iter().find(|tracer| tracer.name == "custom").unwrap();
    let failed = |probe: &str| {
        let of_it = custom.probes.iter().find(|said| said.asked.as_deref() == Some(probe));
        of_it.unwrap_or_else(|| panic!("{probe} in {custom:?}")).failed.clone()
    };
    assert!(bad.iter().all(|(probe, _)| failed(probe).is_some()));
    assert!(good.iter().all(|probe| failed(probe).is_none()));
}

#[test]
fn nothing_is_recorded_where_no_probe_can_be() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let spans = |span: &str| vec!["--span".to_owned(), span.to_owned()];
    let file = program.display();
    let cases = [
        (probes(&[uprobe(&program, "no_such_function")]), "no function"),
        (probes(&["uprobe"]), "uprobe"),
        (probes(&["nonsense:a:b"]), "nonsense"),
        (probes(&[""]), "probe"),
        (probes(&[uprobe(&program, "shop_price,arg0:float")]), "type"),
        (
            probes(&[uprobe(
                &program,
                "shop_price,arg0:u64,arg1:u64,arg2:u64,arg3:u64,arg4:u64,arg5:u64,arg0:u8",
            )]),
            "too many",
        ),
        (probes(&[uprobe(&program, "shop_price+1000000")]), "shop_price"),
        (spans(&format!("order=usdt:{file}:shop:order_start")), "order"),
        (spans(&format!("usdt:{file}:shop:order_start..usdt:{file}:shop:order_done")), "span"),
        (
            spans(&format!("order=usdt:{file}:shop:order_start..usdt:{file}:shop:nothing")),
            "no probe",
        ),
        (
            spans(&format!(
                "order=usdt:{file}:shop:order_start,key=arg0..usdt:{file}:shop:order_done"
            )),
            "key",
        ),
    ];
    for (options, reason) in cases {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("recording");
        let mut command = Command::new(RECORD);
        command.args(["--trace", "custom", "--output"]).arg(&output).args(&options);
        let ended = run(command.arg("--").arg(&program).args(["calls", "1"]));
        assert_eq!(ended.status.code(), Some(2), "{options:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{options:?}: the command was not run");
        assert!(ended.stderr.lines().all(|line| line.starts_with("record: ")), "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "`{reason}` for {options:?}: {}", ended.stderr);
        assert!(is_absent(&output), "{options:?}");
    }
}

#[test]
fn lists_name_what_matches() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let Some(program) = shop::program("shop") else { return };
    let list = |pattern: &str| {
        let ended = run(Command::new(RECORD).args(["--list-probes", pattern]));
        assert!(ended.status.success(), "{pattern}: {}", ended.stderr);
        ended.stdout.lines().map(str::to_owned).collect::<Vec<String>>()
    };
    // Functions that only the file's table of symbols has, too.
    let mut sites = list(&uprobe(&program, "site_*"));
    sites.sort();
    let expected = [
        "audit",
        "bare",
        "done",
        "large",
        "large_indexed",
        "six",
        "small",
        "small_memory",
        "start",
        "start_constant",
        "start_memory",
        "total",
    ];
    assert_eq!(sites, expected.map(|name| uprobe(&program, &format!("site_{name}"))));
    let ended = run(Command::new(RECORD).args(["--list-probes", &uprobe(&program, "no_such_*")]));
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("no_such_*"), "{}", ended.stderr);
    let (recorded, output) = commanded(&program, &probes(&sites), &["probes"]);
    let counted = counts(&recorded);
    assert_eq!(counted["site_bare"], events(&output, "bare").len());
    assert_eq!(counted["site_start_constant"], 5);
    assert_eq!(counted.get("site_audit"), None);
}
