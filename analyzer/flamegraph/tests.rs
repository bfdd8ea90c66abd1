use super::names::folded_name;
use crate::made::{Heap, Hit, Made, analyze};

fn profile() -> Made {
    let made = Made::new();
    made.rows(&[
        made.process(0.0, 2, 0, -9.0, &[]),
        made.process(0.0, 30, 2, -9.0, &[]),
        made.stack(1, &[11, 10], false),
        made.stack(2, &[20], false),
        made.stack(3, &[12, 99], true),
        made.frame(10, false, Some("/bin/app"), Some(0x10)),
        made.frame(11, false, Some("/bin/app"), Some(0x20)),
        made.frame(12, false, Some("/lib/libx.so"), Some(0x1234)),
        made.frame(20, true, None, None),
        made.symbol(10, 0, "main"),
        made.symbol(11, 1, "inlined<1;2>"),
        made.symbol(11, 0, "work"),
        made.symbol(20, 0, "do_syscall"),
        made.sample(1.0, 10, "app", Some(1), None),
        made.sample(1.1, 10, "app", Some(1), Some(2)),
        made.sample(1.2, 10, "app", Some(1), Some(2)),
        made.sample(1.3, 11, "app", Some(3), None),
        made.sample(1.4, 12, "other", Some(777), None),
        made.sample(1.5, 30, "kworker 3", None, Some(2)),
        made.sample(1.6, 13, "gone", None, Some(2)),
    ]);
    made
}

fn folded(made: &Made, args: &[&str]) -> Vec<String> {
    let args = [&["flamegraph", "--folded"], args].concat();
    analyze(made, &args).expect("it is whole").lines().map(str::to_owned).collect()
}

#[test]
fn samples_are_summed_by_stack() {
    assert_eq!(
        folded(&profile(), &[]),
        [
            "app;[truncated];[lost frame];[libx.so+0x1234] 10",
            "app;main;work;inlined<1:2>_[i] 10",
            "app;main;work;inlined<1:2>_[i];do_syscall_[k] 20",
            "gone;do_syscall_[k] 10",
            "kworker_3;do_syscall_[k] 10",
            "other;[lost stack] 10",
        ]
    );
}

#[test]
fn missing_stacks_are_named_where_the_losses_tell_of_them() {
    let made = profile();
    made.rows(&[made.loss("sample", "stack unreadable", 1, 1.0, 2.0)]);
    let lines = folded(&made, &[]);
    assert!(lines.contains(&"gone;[stack unreadable];do_syscall_[k] 10".to_owned()));
    assert!(lines.contains(&"kworker_3;do_syscall_[k] 10".to_owned()), "a kernel thread");
}

#[test]
fn parts_can_be_chosen() {
    let made = profile();
    let args: [(&[&str], &[&str]); 5] = [
        (&["--kernel", "--comm", "app"], &["app;do_syscall_[k] 20"]),
        (&["--user", "--pid", "10"], &["app;main;work;inlined<1:2>_[i] 30"]),
        (
            &["--reverse", "--since", "1.05s", "--until", "1.15s"],
            &["do_syscall_[k];inlined<1:2>_[i];work;main;app 10"],
        ),
        (&["--uid", "5"], &[]),
        (&["--pid", "11"], &["app;[truncated];[lost frame];[libx.so+0x1234] 10"]),
    ];
    for (args, lines) in args {
        assert_eq!(folded(&made, args), lines, "{args:?}");
    }
}

#[test]
fn the_drawing_is_well_formed_whatever_names_there_are() {
    let made = profile();
    made.rows(&[
        made.sample(2.0, 40, "<a&b>\"'\x1b[1m", Some(1), None),
        made.sample(2.0, 40, "# x 5", None, None),
        made.sample(2.0, 40, "7 8", None, None),
    ]);
    let args = ["flamegraph", "--title", "<t>&\x07", "--width", "800"];
    let svg = analyze(&made, &args).expect("it is whole");
    // The suffix chooses the colour and is not drawn.
    assert!(svg.contains("main") && svg.contains("do_syscall"));
    assert!(svg.contains("&lt;a&amp;b&gt;") && !svg.contains("<a&"), "names are escaped");
    assert!(svg.contains("&lt;t&gt;&amp;\\x07"), "so is the title");
    assert!(!svg.contains(['\x1b', '\x07']), "XML has no such characters");
    assert_eq!(svg, analyze(&made, &args).expect("it is whole"), "the same each time");
    let icicle = analyze(&made, &["flamegraph", "--inverted"]).expect("it is whole");
    assert_ne!(icicle, svg);
}

#[test]
fn without_samples_there_is_nothing_to_draw() {
    let made = Made::new();
    let error = analyze(&made, &["flamegraph"]).expect_err("there is none");
    assert!(error.to_string().contains("no sample"), "{error}");
    assert_eq!(folded(&made, &[]), Vec::<String>::new());
}

/// Two allocations by two stacks, of which one is freed and allocated anew by the other.
fn heap() -> Made {
    let made = profile();
    let exec = made.exec(0.5, 10, 1, &["/bin/app"]);
    let calls = [
        Heap::malloc(1.0, 10, 0x1000, 100, 1),
        Heap::malloc(2.0, 10, 0x2000, 30, 3),
        Heap::free(3.0, 10, 0x2000),
        Heap::malloc(4.0, 10, 0x2000, 5, 1),
    ];
    made.rows(&[&[exec][..], &calls.map(|call| made.alloc(call))].concat());
    made.end(5.0);
    made
}

#[test]
fn memory_is_drawn_by_what_is_asked_of_it() {
    let work = |weight| format!("app;main;work;inlined<1:2>_[i] {weight}");
    let lost = |weight| format!("app;[truncated];[lost frame];[libx.so+0x1234] {weight}");
    let of = |args: &[&str]| folded(&heap(), &[&["--weight"], args].concat());
    assert_eq!(of(&["outstanding"]), [work("105")]);
    assert_eq!(of(&["outstanding", "--at", "2s"]), [lost("30"), work("100")]);
    assert_eq!(of(&["allocated"]), [lost("30"), work("105")]);
    assert_eq!(of(&["peak"]), [lost("30"), work("100")]);
    assert_eq!(of(&["temporary"]), [lost("1")]);
    assert_eq!(of(&["count"]), [lost("1"), work("2")]);
    assert_eq!(of(&["outstanding", "--comm", "nobody"]), Vec::<String>::new());
    assert_eq!(
        of(&["outstanding", "--diff-at", "2s"]),
        [lost("30 0"), work("100 105")],
        "before and now"
    );
    for kernel in ["--kernel", "--at=99s"] {
        assert!(analyze(&heap(), &["flamegraph", "--weight", "peak", kernel]).is_err());
    }
    assert!(analyze(&heap(), &["flamegraph", "--at", "2s"]).is_err(), "of CPU time");
}

#[test]
fn two_recordings_are_compared() {
    let (made, other) = (heap(), profile());
    other.rows(&[other.alloc(Heap::malloc(1.0, 10, 0x1000, 7, 1))]);
    let other = other.path().to_str().expect("temporary paths are UTF-8");
    let args = ["--weight", "allocated", "--diff", other];
    let lines = folded(&made, &args);
    assert!(lines.contains(&"app;main;work;inlined<1:2>_[i] 0 105".to_owned()), "{lines:?}");
    assert!(lines.contains(&"[unknown];main;work;inlined<1:2>_[i] 7 0".to_owned()), "{lines:?}");
    let svg = analyze(&made, &[&["flamegraph"], &args[..]].concat()).expect("it is whole");
    assert!(svg.contains("Allocated memory on web1") && svg.contains("105 bytes"), "{svg}");
    let csv = analyze(&made, &[&["flamegraph", "--format", "csv"], &args[..]].concat());
    assert!(csv.expect("it is whole").starts_with("stack,before,weight,count\n"));
    assert!(folded(&made, &["--diff", other]).iter().all(|line| {
        let weights: Vec<&str> = line.rsplit(' ').take(2).collect();
        weights[0] == weights[1]
    }));
}

#[test]
fn without_samples_allocations_are_pointed_to() {
    let made = Made::new();
    made.rows(&[made.alloc(Heap::malloc(1.0, 10, 0x1000, 7, 1))]);
    let error = analyze(&made, &["flamegraph"]).expect_err("there is no sample");
    assert!(error.to_string().contains("--weight outstanding draws those"), "{error}");
}

#[test]
fn names_cannot_be_mistaken_for_separators_or_weights() {
    assert_eq!(folded_name("operator()(int; 12"), "operator()(int:_12");
    assert_eq!(folded_name(" "), "[unknown]");
    assert_eq!(folded_name("# 1"), "#_1");
}

#[test]
fn hits_of_probes_are_drawn_by_their_stacks() {
    let made = profile();
    let hit = Hit { seconds: 1.0, name: "start", pid: 10, stack: Some(1), ..Hit::default() };
    made.rows(&[
        made.hit(hit),
        made.hit(Hit { kernel_stack: Some(2), ..hit }),
        made.hit(hit),
        made.hit(Hit { name: "other", stack: None, kernel_stack: Some(2), ..hit }),
        made.hit(Hit { name: "bare", stack: None, ..hit }),
    ]);
    let stack = "app;main;work;inlined<1:2>_[i]";
    assert_eq!(
        folded(&made, &["--weight", "probe"]),
        [
            "app;do_syscall_[k] 1".to_owned(),
            format!("{stack} 2"),
            format!("{stack};do_syscall_[k] 1")
        ]
    );
    assert_eq!(folded(&made, &["--weight", "probe", "--probe", "other"]), ["app;do_syscall_[k] 1"]);
    assert!(folded(&made, &["--weight", "probe", "--probe", "bare"]).is_empty());
    for wrong in [&["--probe", "start"][..], &["--weight", "probe", "--at", "1s"]] {
        assert!(analyze(&made, &[&["flamegraph"], wrong].concat()).is_err());
    }
}
