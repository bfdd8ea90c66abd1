use serde_json::Value;

use crate::made::{Collection, Heap, Made, Row, analyze};

/// What the page's scripts get.
fn data(made: &Made, args: &[&str]) -> Value {
    let text = analyze(made, &[&["report", "--data"], args].concat()).expect("there is a page");
    serde_json::from_str(&text).expect("the data is JSON")
}

/// The member of a list with this id.
fn of<'a>(data: &'a Value, list: &str, id: &str) -> &'a Value {
    let all = data[list].as_array().expect("it is a list");
    all.iter().find(|each| each["id"] == id).unwrap_or_else(|| panic!("no {id} in {list}"))
}

/// The steps whose value is not 0, with it.
fn steps(values: &Value) -> Vec<(usize, f64)> {
    let values = values.as_array().expect("it is a list").iter().enumerate();
    let known = values.filter_map(|(step, value)| Some((step, value.as_f64()?)));
    known.filter(|(_, value)| *value != 0.0).collect()
}

/// 240 seconds, so that a step is one.
fn busy() -> Made {
    let made = Made::new();
    made.rows(&[
        made.frame(1, false, Some("/bin/app"), Some(0x10)),
        made.frame(2, false, Some("/bin/app"), Some(0x20)),
        made.frame(3, true, None, None),
        made.symbol(1, 0, "main"),
        made.symbol(2, 0, "work"),
        made.symbol(3, 0, "read_file"),
        made.stack(1, &[2, 1], false),
        made.stack(2, &[3], false),
        made.sample(10.5, 7, "app", Some(1), None),
        made.sample(10.9, 7, "app", Some(1), None),
        made.sample(20.0, 7, "app", Some(1), Some(2)),
        made.runq(10.0, 7, 7, 5_000, 20, 0),
        made.runq(10.1, 7, 7, 900_000, 20, 1),
        made.runq(30.0, 8, 8, 1_000, 0, 0),
        made.exec(1.0, 7, 1, &["/bin/app", "-v"]),
        made.exec(2.0, 8, 7, &["/bin/child"]),
        made.exit(50.0, 8, 7, 2.0, Err(9)),
        made.exit(60.0, 7, 1, 1.0, Ok(0)),
        made.signal(49.0, Some(7), 8, 9, 0),
        made.signal(50.0, None, 7, 17, 0),
        made.syscall(5.0, 7, 0, Some(3)),
        made.syscall(5.5, 7, 0, Some(-2)),
        made.syscall(90.0, 7, 1, None),
        made.tcpconnect(70.0, 7, 443, Some(0)),
        made.tcpconnect(71.0, 7, 81, Some(-111)),
        made.opened(80.0, 7, Some("/etc/none"), None, Err(2)),
        made.opened(81.0, 7, Some("/etc/some"), None, Ok(3)),
        made.gc(Collection::python(100.0, 7, 500, 2)),
        made.loss("signal", "ring full", 12, 49.5, 51.0),
    ]);
    made.end(240.0);
    made
}

#[test]
fn lanes_have_a_value_for_each_step() {
    let data = data(&busy(), &[]);
    assert_eq!(data["time"]["steps"], 240);
    assert_eq!(data["time"]["step"], 1_000_000_000_i64);
    let lane = |id| of(&data, "lanes", id);
    // Of two CPUs: samples of 10 ns.
    assert_eq!(steps(&lane("sample")["values"]), [(10, 20.0 / 2e9), (20, 10.0 / 2e9)]);
    assert_eq!(steps(&lane("runq")["values"]), [(10, 900_000.0), (30, 1_000.0)]);
    assert_eq!(lane("runq")["values"][0], Value::Null, "no wait has no percentile");
    assert_eq!(steps(&lane("gc")["values"]), [(100, 0.5)]);
    assert_eq!(steps(&lane("syscall")["values"]), [(5, 2.0), (90, 1.0)]);
    assert_eq!(steps(&lane("exit")["values"]), [(50, 1.0), (60, 1.0)]);
    assert_eq!(steps(&lane("exit")["marked"][1]), [(50, 1.0)]);
    assert_eq!(steps(&lane("tcpconnect")["marked"][1]), [(71, 1.0)]);
    assert_eq!(steps(&lane("signal")["marked"][1]), [(49, 1.0)]);
    assert_eq!(steps(&lane("open")["marked"][1]), [(80, 1.0)]);
}

#[test]
fn what_is_lost_is_told_on_top_and_where_it_matters() {
    let data = data(&busy(), &[]);
    let lossy =
        "LOSSY: 12 of signal's events lost (ring full) 49.5 s – 51.0 s after the start".to_owned();
    assert_eq!(data["warnings"], serde_json::json!([lossy]));
    assert_eq!(of(&data, "tables", "signals")["warnings"], serde_json::json!([lossy]));
    assert_eq!(of(&data, "lanes", "signal")["warnings"], serde_json::json!([lossy]));
    assert_eq!(of(&data, "tables", "exits")["warnings"], serde_json::json!([]));
    assert_eq!(data["gaps"][0]["from"], 49_500_000_000_i64);
    assert_eq!(data["gaps"][0]["to"], 51_000_000_000_i64);
    let covers = data["covers"].as_str().expect("a text");
    assert!(covers.contains("12 events lost"), "{covers}");
}

#[test]
fn distributions_are_those_of_the_reports() {
    let made = busy();
    let data = data(&made, &[]);
    let waits = of(&data, "distributions", "runq");
    let said = |name| {
        let figures = waits["summary"].as_array().expect("a list").iter();
        let mut found = figures.filter(|figure| figure[0] == name).map(|figure| &figure[1]);
        found.next().and_then(Value::as_str).map(str::to_owned).expect("it is said")
    };
    let text = analyze(&made, &["runqlat", "--summary"]).expect("it is whole");
    let report: Vec<&str> = text.lines().nth(2).expect("a row").split_whitespace().collect();
    assert_eq!(report[..2], [said("count"), said("mean")]);
    assert_eq!(report[2..], ["p50", "p90", "p99", "p99.9", "max"].map(said));
    // 900 µs lie from 512 µs on, 5 µs from 4 µs on.
    assert_eq!(waits["heat"][10], serde_json::json!([2, 1, 9, 1]));
    assert_eq!(waits["heat"][30], serde_json::json!([0, 1]));
    let calls = of(&data, "distributions", "syscalls");
    assert_eq!(calls["notes"], serde_json::json!(["1 had not ended and are left out"]));
}

/// The folded lines of a graph in the steps that `wanted` wants.
fn folded(flame: &Value, wanted: impl Fn(i64) -> bool) -> Vec<String> {
    let numbers = |value: &Value| -> Vec<i64> {
        value.as_array().expect("a list").iter().filter_map(Value::as_i64).collect()
    };
    let (parents, labels) = (numbers(&flame["parents"]), numbers(&flame["labels"]));
    let mut lines = Vec::new();
    for node in 1..parents.len() {
        let (mut step, mut weight) = (0, 0);
        for pair in numbers(&flame["weights"][node]).chunks(2) {
            step += pair[0];
            weight += if wanted(step) { pair[1] } else { 0 };
        }
        let (mut names, mut place) = (Vec::new(), node);
        while place > 0 {
            names.insert(0, flame["names"][labels[place] as usize].as_str().expect("a text"));
            assert!(parents[place] < place as i64, "parents stand before their children");
            place = parents[place] as usize;
        }
        if weight > 0 {
            let scale = flame["scale"].as_i64().expect("a number");
            lines.push(format!("{} {}", names.join(";"), weight * scale));
        }
    }
    lines
}

#[test]
fn flame_graphs_of_a_part_are_those_of_that_time() {
    let made = busy();
    let data = data(&made, &[]);
    let cpu = of(&data, "flames", "cpu");
    let report = |args: &[&str]| -> Vec<String> {
        let args = [&["flamegraph", "--folded"], args].concat();
        analyze(&made, &args).expect("it is whole").lines().map(str::to_owned).collect()
    };
    assert_eq!(folded(cpu, |_| true), report(&[]));
    assert_eq!(folded(cpu, |_| true), ["app;main;work 20", "app;main;work;read_file_[k] 10"]);
    assert_eq!(folded(cpu, |step| step < 20), report(&["--until", "20s"]));
    assert_eq!(folded(cpu, |step| step == 20), report(&["--since", "20s", "--until", "21s"]));
}

#[test]
fn tables_are_rows_of_the_reports() {
    let data = data(&busy(), &[]);
    let table = |id| of(&data, "tables", id);
    let exits = table("exits");
    assert_eq!(exits["command"], "analyze processes REC --exits");
    assert_eq!(exits["total"], 2);
    assert_eq!(exits["rows"][0][0], serde_json::json!([50e9, "10:15:50.000"]));
    assert_eq!(exits["rows"][0][6], "signal 9 (KILL)");
    assert_eq!(exits["times"][0], serde_json::json!([50_000_000_000_i64, 50_000_000_000_i64]));
    let tree = table("processes");
    assert_eq!(tree["columns"][0][0], "COMMAND");
    assert_eq!(tree["depths"], serde_json::json!([0, 1]));
    assert_eq!(tree["rows"][1][0], "└─ /bin/child");
    assert_eq!(tree["times"][1][1], 50_000_000_000_i64);
    let waits = table("waits");
    assert_eq!(waits["largest"], true);
    assert_eq!(waits["total"], 3);
    assert_eq!(waits["rows"][0][3], serde_json::json!([900_000.0, "900.000"]));
    let calls = table("calls");
    assert_eq!(calls["rows"][0][0], "read");
    let first = &calls["steps"][0];
    assert_eq!([&first[0], &first[1], &first[2]], [5, 2, 1], "step, calls, failures");
    let failed = table("failed-opens");
    assert_eq!(failed["total"], 1, "only what could not be opened");
    let absent = data["absent"].as_array().expect("a list");
    let spans = absent.iter().find(|each| each["title"] == "Spans").expect("there are none");
    assert_eq!(spans["recorded"], false);
}

#[test]
fn memory_grows_at_its_place() {
    let made = Made::new();
    let block = |n: i64| made.alloc(Heap::malloc(n as f64 * 10.0, 7, 0x1000 * n, 100, 1));
    let blocks: Vec<Row> = (1..=20).map(block).collect();
    made.rows(&[made.frame(1, false, Some("/bin/app"), Some(0x10)), made.symbol(1, 0, "leak")]);
    made.rows(&[made.stack(1, &[1], false)]);
    made.rows(&blocks);
    made.end(240.0);
    let data = data(&made, &[]);
    let site = &data["sites"]["sites"][0];
    assert_eq!(site["bytes"], 2_000);
    assert_eq!(site["count"], 20);
    let growth: Vec<i64> =
        site["growth"].as_array().expect("a list").iter().filter_map(Value::as_i64).collect();
    assert_eq!(growth.len(), 24);
    assert_eq!((growth[0], growth[9], growth[23]), (100, 1_000, 2_000));
    let heap = &of(&data, "lanes", "alloc")["values"];
    assert_eq!(heap[5], 0.0, "nothing yet");
    assert_eq!((&heap[15], &heap[30]), (&Value::from(100.0), &Value::from(300.0)));
}

#[test]
fn a_part_of_the_time_is_all_there_is() {
    let data = data(&busy(), &["--since", "40s", "--until", "55s"]);
    assert_eq!(data["time"]["length"], 15_000_000_000_i64);
    assert_eq!(of(&data, "tables", "exits")["total"], 1);
    assert_eq!(of(&data, "tables", "exits")["times"][0][0], 10_000_000_000_i64);
    let lane = of(&data, "lanes", "exit");
    assert_eq!(steps(&lane["values"]), [(160, 1.0)]);
}

#[test]
fn an_empty_recording_has_a_page() {
    let made = Made::new();
    made.end(1.0);
    let data = data(&made, &[]);
    assert_eq!(data["lanes"], serde_json::json!([]));
    assert_eq!(data["tables"].as_array().expect("a list").len(), 1, "that there are no tables");
    assert!(data["absent"].as_array().expect("a list").len() > 10);
    let page = analyze(&made, &["report"]).expect("there is a page");
    assert!(page.starts_with("<!DOCTYPE html>"));
}

#[test]
fn hostile_names_are_only_text() {
    const HOSTILE: [&str; 5] = [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<!--\u{2028}\u{202e}",
        "\u{1b}]0;owned\u{7}\u{9b}31m",
        "\u{fffe}\u{ffff}&lt;",
    ];
    let made = Made::new();
    made.rows(&[
        made.exec(1.0, 7, 1, &HOSTILE),
        made.opened(2.0, 7, Some(HOSTILE[0]), None, Err(2)),
        made.frame(1, false, Some(HOSTILE[1]), None),
        made.symbol(1, 0, HOSTILE[0]),
        made.stack(1, &[1], false),
        made.sample(3.0, 7, "<b>;\u{1b}", Some(1), None),
    ]);
    made.end(10.0);
    let page = analyze(&made, &["report"]).expect("there is a page");
    assert_eq!(page.matches("</script").count(), 2, "the page's own");
    for text in ["<img", "<b>", "<!--", "alert(1)</", "\u{1b}", "\u{7}", "\u{9b}", "\u{202e}"] {
        assert!(!page.contains(text), "{text:?}");
    }
    let (_, rest) = page.split_once("id=\"data\">").expect("the data is there");
    let (json, _) = rest.split_once("</script>").expect("it ends");
    let data: Value = serde_json::from_str(json).expect("it is JSON");
    let command = of(&data, "tables", "processes")["rows"][0][0].as_str().expect("a text");
    assert!(command.starts_with("</script><script>alert(1)</script> <img src=x"), "{command}");
    assert!(command.contains("<!--\\u{2028}\\u{202e}") && command.contains("\\x1b]0;owned\\x07"));
    let names = data["flames"][0]["names"].as_array().expect("a list").iter();
    let spelled = names.filter_map(Value::as_str).filter(|name| name.starts_with(HOSTILE[0]));
    assert_eq!(spelled.count(), 1);
}

#[test]
fn rows_are_cut_and_it_is_said() {
    let made = Made::new();
    let rows: Vec<Row> =
        (0..3_000).map(|n| made.signal(f64::from(n) / 100.0, Some(7), 8, 9, 0)).collect();
    made.rows(&rows);
    made.end(30.0);
    let data = data(&made, &[]);
    let signals = of(&data, "tables", "signals");
    let kept = signals["rows"].as_array().expect("a list").len();
    assert_eq!(signals["total"], 3_000);
    assert!((500..=2_000).contains(&kept), "{kept}");
    assert_eq!(signals["times"].as_array().expect("a list").len(), kept);
    // What is counted by step is whole.
    let counted: f64 = steps(&of(&data, "lanes", "signal")["values"]).iter().map(|(_, n)| n).sum();
    assert_eq!(counted, 3_000.0);
}
