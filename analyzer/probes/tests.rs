use lookback_schemas::manifest::{Argument, Probe};

use crate::made::{Hit, Made, analyze, lines};

fn argument(column: &str, name: &str, kind: &str) -> Argument {
    Argument { column: column.to_owned(), name: name.to_owned(), kind: kind.to_owned() }
}

fn place(name: &str, asked: &str, cost: i64) -> Probe {
    let (name, asked) = (Some(name.to_owned()), Some(asked.to_owned()));
    Probe { name, asked, kind: "emulated".to_owned(), cost: Some(cost), ..Probe::default() }
}

fn hits() -> Made {
    let made = Made::new();
    let arguments = vec![
        argument("arg0", "count", "u64"),
        argument("text1", "path", "str"),
        argument("arg2", "at", "ptr"),
        argument("arg3", "delta", "i32"),
    ];
    let start = Probe { arguments, ..place("start", "usdt:/bin/app:app:start", 40) };
    let never = place("never", "uprobe:/bin/app:never", 60);
    let refused = Probe {
        asked: Some("uprobe:/bin/app:gone".to_owned()),
        failed: Some("there is no function `gone`".to_owned()),
        ..Probe::default()
    };
    let of_span = place("handle", "request=uprobe:./srv:handle..uretprobe:./srv:handle", 50);
    let second = Probe { cost: Some(90), ..start.clone() };
    made.trace("custom", &["probe", "span"], vec![start, second, never, refused, of_span]);
    let numbers = |count, at, delta| [Some(count), None, at, Some(delta), None, None];
    let text = |text| [None, text, None, None, None, None];
    let hit = Hit { name: "start", pid: 10, ..Hit::default() };
    made.rows(&[
        made.hit(Hit {
            seconds: 1.0,
            numbers: numbers(12, Some(-4096), -3),
            texts: text(Some("/a \"b\\\x1b")),
            ..hit
        }),
        made.hit(Hit { seconds: 2.0, numbers: numbers(-1, None, 4), ..hit }),
        made.hit(Hit { seconds: 4.0, pid: 11, numbers: numbers(5, None, 4), ..hit }),
        made.hit(Hit {
            seconds: 3.0,
            name: "foreign",
            numbers: [None, Some(7), None, None, None, None],
            texts: [Some("x"), None, None, None, None, None],
            ..hit
        }),
    ]);
    made.end(6.0);
    made
}

#[test]
fn each_probe_has_a_row_even_if_it_was_never_hit() {
    assert_eq!(
        lines(&hits(), &["probes"])[1..],
        [
            "NAME HITS PROCESSES RATE/s FIRST LAST COST FAILED",
            "start 3 2 0.5 10:15:01.000 10:15:04.000 90ns -",
            "foreign 1 1 0.17 10:15:03.000 10:15:03.000 - -",
            "never 0 0 0 - - 60ns -",
            "uprobe:/bin/app:gone - - - - - - there is no function `gone`",
        ]
    );
    assert_eq!(
        lines(&hits(), &["probes", "--by", "process", "--name", "start"])[1..],
        [
            "NAME PID COMM HITS RATE/s FIRST LAST",
            "start 10 app 2 0.33 10:15:01.000 10:15:02.000",
            "start 11 app 1 0.17 10:15:04.000 10:15:04.000",
        ]
    );
    assert!(analyze(&hits(), &["probes", "--by", "count"]).is_err());
}

#[test]
fn hits_have_their_arguments_by_name_and_type() {
    assert_eq!(
        lines(&hits(), &["probes", "--list"])[1..],
        [
            "TIME PID TID COMM NAME ARGUMENTS",
            "10:15:01.000 10 10 app start count=12 path=\"/a \\\"b\\\\\\x1b\" \
             at=0xfffffffffffff000 delta=-3",
            "10:15:02.000 10 10 app start count=18446744073709551615 path=- at=- delta=4",
            "10:15:03.000 10 10 app foreign text0=\"x\" arg1=7",
            "10:15:04.000 11 11 app start count=5 path=- at=- delta=4",
        ]
    );
    let json = analyze(&hits(), &["probes", "--list", "--name", "start", "--format", "json"]);
    let json: serde_json::Value =
        serde_json::from_str(&json.expect("it is whole")).expect("it is JSON");
    assert_eq!(json[0]["arg0"], 12);
    assert_eq!(json[0]["text1"], "/a \"b\\\u{1b}");
    assert_eq!(json[1]["arg2"], serde_json::Value::Null);
}

#[test]
fn arguments_are_distributed() {
    let csv = |args: &[&str]| {
        let args = [&["probes", "--name", "start", "--format", "csv", "--hist"], args].concat();
        analyze(&hits(), &args).map_err(|error| format!("{error:#}"))
    };
    assert_eq!(
        csv(&["delta"]).expect("it is a number"),
        "low,high,count\n0,1,0\n2,3,0\n4,7,2\n",
        "a negative value has no row"
    );
    let by_text = csv(&["arg3", "--by", "path", "--summary"]).expect("it is a number");
    assert_eq!(
        by_text,
        "text1,count,nulls,negative,mean,p50,p90,p99,p99.9,max\n,2,0,0,4,4,4,4,4,4\n\
         \"/a \"\"b\\\x1b\",1,0,1,-3,-3,-3,-3,-3,-3\n"
    );
    let large = csv(&["count", "--by", "process", "--summary"]).expect("it is a number");
    assert!(large.contains(&i64::MAX.to_string()), "{large}");
    for (args, why) in [
        (&["path"][..], "is a text"),
        (&["at"], "holds addresses"),
        (&["nothing"], "its arguments are: count, path, at, delta"),
        (&["delta", "--by", "nothing"], "no argument"),
        (&["delta", "--name", "never"], "give --name once"),
    ] {
        let said = csv(args).expect_err(why);
        assert!(said.contains(why), "{said}");
    }
    let text = analyze(&hits(), &["probes", "--name", "start", "--hist", "delta"]);
    assert!(text.expect("it is whole").contains("\ndelta of start\n"));
}
