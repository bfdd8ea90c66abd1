//! Every format, of recordings that are made up. What other programs make of them is tested in `tests/exports.rs`.

use std::io::Read as _;
use std::path::Path;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use prost::Message as _;
use serde_json::{Value, json};

use super::{perfetto, pprof};
use crate::made::{Away, Made, Stretch, analyze, analyze_at};

/// Two threads with stacks in user and kernel code; an inlined call, a frame without a name, a lost stack.
fn sampled() -> Made {
    let made = unfinished();
    made.end(2.0);
    made
}

/// The same, to which rows can be added.
fn unfinished() -> Made {
    let made = Made::new();
    made.rows(&[
        made.frame(10, false, Some("/bin/app"), Some(0x10)),
        made.frame(11, false, Some("/lib/libx.so"), Some(0x20)),
        made.frame(20, true, None, None),
        made.symbol_at(10, "main", "/src/app.c", 7),
        made.symbol(10, 1, "inner"),
        made.symbol(20, 0, "do_read"),
        made.stack(1, &[11, 10], false),
        made.stack(2, &[20], true),
        made.sample(1.0, 10, "app", Some(1), None),
        made.sample(1.1, 10, "app", Some(1), Some(2)),
        made.sample(1.2, 10, "app", Some(1), Some(2)),
        made.sample(1.3, 11, "other; 7", Some(9), None),
    ]);
    made
}

fn export(made: &Made, args: &[&str]) -> String {
    analyze(made, &[&["export", "--format"], args].concat()).expect("it is whole")
}

fn export_bytes(made: &Made, args: &[&str]) -> Vec<u8> {
    let out = tempfile::tempdir().expect("tests may write temporary files");
    let file = out.path().join("export");
    export_to(made, args, &file).expect("it is whole");
    std::fs::read(file).expect("it was written")
}

fn export_to(made: &Made, args: &[&str], output: &Path) -> anyhow::Result<()> {
    use clap::Parser as _;
    let path = |path: &Path| path.to_str().expect("temporary paths are UTF-8").to_owned();
    let mut line: Vec<String> = ["analyze", "export", "--format"].map(str::to_owned).into();
    line.extend(args.iter().map(|arg| (*arg).to_owned()));
    line.extend(["-o".to_owned(), path(output), path(made.path())]);
    crate::cli::run(crate::cli::Cli::try_parse_from(line)?)?;
    Ok(())
}

#[test]
fn folded_lines_are_those_of_the_flame_graph() {
    let made = sampled();
    let folded = export(&made, &["folded"]);
    assert_eq!(folded, analyze(&made, &["flamegraph", "--folded"]).expect("it is whole"));
    assert_eq!(
        folded.lines().collect::<Vec<_>>(),
        [
            "app;main;inner_[i];[libx.so+0x20] 10",
            "app;main;inner_[i];[libx.so+0x20];[truncated]_[k];do_read_[k] 20",
            "other:_7;[lost stack] 10",
        ]
    );
    let only = export(&made, &["folded", "--comm", "app", "--until", "1.1s"]);
    assert_eq!(only, "app;main;inner_[i];[libx.so+0x20] 10\n");
}

#[test]
fn inferno_reads_the_same_stacks_from_perf_scripts_text() {
    use inferno::collapse::Collapse as _;
    let made = sampled();
    let text = export(&made, &["perf-script"]);
    assert!(text.starts_with("# 2026-11-22T10:15:00Z + 2.0 s, nothing lost\n"), "{text}");
    assert!(text.contains("app 10/10 [000] 1.100000000: 10 cpu-clock:\n"), "{text}");
    let mut collapsed = Vec::new();
    inferno::collapse::perf::Folder::default()
        .collapse(text.as_bytes(), &mut collapsed)
        .expect("inferno reads it");
    assert_eq!(
        String::from_utf8(collapsed).expect("inferno writes UTF-8"),
        "app;main;inner;[libx.so] 10\n\
         app;main;inner;[libx.so];[truncated];do_read 20\n\
         other:_7;[lost stack] 10\n"
    );
}

#[test]
fn pprof_has_lines_mappings_and_what_is_missing() {
    let made = unfinished();
    made.rows(&[made.loss("sample", "ring full", 3, 1.0, 1.5)]);
    made.end(2.0);
    let bytes = export_bytes(&made, &["pprof"]);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).expect("it is gzip");
    let profile = pprof::message::Profile::decode(&plain[..]).expect("it is a profile");
    let text = |place: i64| profile.string_table[place as usize].as_str();
    assert_eq!(profile.string_table[0], "");
    let types: Vec<_> = profile.sample_type.iter().map(|ty| (text(ty.ty), text(ty.unit))).collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    let comments: Vec<&str> = profile.comment.iter().map(|place| text(*place)).collect();
    assert!(comments.iter().any(|comment| comment.contains("3 of sample's events lost")));
    let mapping = |location: &pprof::message::Location| {
        profile.mapping.iter().find(|mapping| mapping.id == location.mapping_id)
    };
    let stack = |place: usize| -> Vec<String> {
        let locations = profile.sample[place].location_id.iter();
        locations
            .map(|id| {
                let location = &profile.location[*id as usize - 1];
                assert_eq!(location.id, *id);
                let lines = location.line.iter().map(|line| {
                    let function = &profile.function[line.function_id as usize - 1];
                    format!("{}:{}:{}", text(function.name), text(function.filename), line.line)
                });
                let file = mapping(location).map_or("", |mapping| text(mapping.filename));
                format!("{} {file}+{:#x}", lines.collect::<Vec<_>>().join(","), location.address)
            })
            .collect()
    };
    assert_eq!(profile.sample.len(), 3);
    assert_eq!(profile.sample[0].value, [1, 10]);
    assert_eq!(stack(0), [" /lib/libx.so+0x20", "inner::0,main:/src/app.c:7 /bin/app+0x10"]);
    assert_eq!(profile.sample[1].value, [2, 20]);
    assert_eq!(stack(1)[..2], ["do_read::0 [kernel.kallsyms]+0x1014", "[truncated]::0 +0x0"]);
    let label = &profile.sample[2].label[0];
    assert_eq!((text(label.key), text(label.str)), ("comm", "other; 7"));
    for location in profile.location.iter().filter(|location| location.mapping_id != 0) {
        let mapping = mapping(location).expect("it is there");
        assert!((mapping.memory_start..mapping.memory_limit).contains(&location.address));
    }
    assert_ne!(text(profile.mapping[0].filename), "[kernel.kallsyms]", "the program is first");
    let unnamed = profile.mapping.iter().find(|mapping| text(mapping.filename) == "/lib/libx.so");
    assert!(!unnamed.expect("it is mapped").has_functions, "pprof is to look for it");
}

#[test]
fn speedscope_has_a_profile_for_each_name() {
    let profile: Value =
        serde_json::from_str(&export(&sampled(), &["speedscope"])).expect("it is JSON");
    let frames = profile["shared"]["frames"].as_array().expect("it is a list");
    let names = |samples: &Value| -> Vec<&str> {
        let places = samples.as_array().expect("it is a list").iter();
        let place = |place: &Value| place.as_u64().expect("it is a place") as usize;
        places.map(|of| frames[place(of)]["name"].as_str().expect("it has a name")).collect()
    };
    let app = &profile["profiles"][0];
    assert_eq!((app["name"].as_str(), app["endValue"].as_i64()), (Some("app"), Some(30)));
    assert_eq!(app["weights"], json!([10, 20]));
    assert_eq!(names(&app["samples"][0]), ["main", "inner", "[libx.so+0x20]"]);
    assert_eq!(
        frames.iter().find(|frame| frame["name"] == "main").expect("it is there")["line"],
        7
    );
    assert_eq!(profile["profiles"][1]["name"], "other; 7");
}

#[test]
fn firefox_has_samples_by_thread() {
    let profile: Value =
        serde_json::from_str(&export(&sampled(), &["firefox"])).expect("it is JSON");
    let threads = profile["threads"].as_array().expect("it is a list");
    assert_eq!(threads.len(), 2);
    assert_eq!(threads[0]["samples"]["length"], 3);
    assert!(profile.to_string().contains("do_read"));
}

/// Slices, instants and samples of several tables; a span that does not end, two that cross, and a loss.
fn eventful() -> Made {
    let made = unfinished();
    let slept = |seconds| Away { cpu: 1, ..Away::slept(seconds, 10, "app", 100) };
    made.rows(&[
        made.exec(0.5, 10, 1, &["/bin/app", "x"]),
        made.syscall(1.0, 10, 0, Some(5)),
        made.signal(1.1, Some(11), 10, 15, 0),
        made.span(Stretch::new(1.0, 10, "open end", 0).unfinished()),
        made.span(Stretch::new(1.2, 10, "first", 30)),
        made.span(Stretch::new(1.21, 10, "second", 30)),
        made.hardirq(1.3, "eth0", 0, 0, 5),
        made.offcpu(slept(1.0)),
        made.offcpu(slept(1.5)),
        made.tcprtt(1.4, Some(10), "192.0.2.1", 5000, 1),
        made.loss("exec", "ring full", 3, 1.0, 1.5),
    ]);
    made.end(2.0);
    made
}

#[test]
fn chromes_json_has_slices_instants_and_what_is_missing() {
    let trace: Value = serde_json::from_str(&export(&eventful(), &["chrome"])).expect("it is JSON");
    let events = trace["traceEvents"].as_array().expect("it is a list");
    let find = |name: &str| {
        let mut found = events.iter().filter(|event| event["name"] == name);
        found.next().unwrap_or_else(|| panic!("no {name} in {trace:#}"))
    };
    let read = find("read");
    assert_eq!((&read["ph"], &read["ts"], &read["dur"]), (&json!("X"), &json!(1e6), &json!(1.5)));
    assert_eq!((&read["pid"], &read["tid"]), (&json!(10), &json!(11)));
    assert_eq!(read["args"]["result"], 5);
    assert_eq!(find("open end")["ph"], "B");
    assert_eq!(find("exec /bin/app")["ph"], "i");
    assert_eq!(find("signal TERM")["pid"], 10);
    assert_eq!(find("signal TERM")["args"]["pid"], 11, "the sender");
    assert_eq!(find("3 of exec (ring full)")["dur"], 500_000.0);
    assert!(trace["otherData"]["missing"][0].as_str().expect("it is said").contains("3 of exec"));
    assert_ne!(find("first")["tid"], find("second")["tid"], "they do not nest");
    let ran = events.iter().find(|event| event["cat"] == "offcpu" && event["name"] == "app");
    let ran = ran.expect("it ran between its waits");
    assert_eq!((&ran["ts"], &ran["dur"]), (&json!(1_100_000.0), &json!(400_000.0)));
    let sample = find("sample");
    let mut names = Vec::new();
    let mut at = sample["sf"].as_str();
    while let Some(id) = at {
        let frame = &trace["stackFrames"][id];
        names.push(frame["name"].as_str().expect("it has a name"));
        at = frame["parent"].as_str();
    }
    assert_eq!(names, ["[libx.so+0x20]", "inner", "main"]);
    let counter = find("srtt 192.0.2.1 4000");
    assert_eq!((&counter["ph"], &counter["args"]["ns"]), (&json!("C"), &json!(5000)));
}

#[test]
fn perfettos_slices_begin_and_end_and_nest() {
    use perfetto::message::{Data, Trace};
    let trace = export_bytes(&eventful(), &["perfetto"]);
    let trace = Trace::decode(&trace[..]).expect("it is a trace");
    let mut names = std::collections::HashMap::new();
    let mut events = Vec::new();
    for packet in &trace.packet {
        for name in packet.interned_data.iter().flat_map(|new| &new.event_names) {
            names.insert(name.iid.expect("it has a number"), name.name.clone().unwrap_or_default());
        }
        if let Some(Data::TrackEvent(event)) = &packet.data {
            events.push((packet.timestamp.expect("it has a time"), event.clone()));
        }
    }
    // As the trace processor does: by time, else as written.
    events.sort_by_key(|(ts, _)| *ts);
    let mut open: std::collections::HashMap<u64, Vec<(String, u64)>> = Default::default();
    let mut slices = Vec::new();
    for (ts, event) in events {
        let stack = open.entry(event.track_uuid.expect("it has a track")).or_default();
        match event.ty {
            Some(1) => stack.push((names[&event.name_iid.expect("it has a name")].clone(), ts)),
            Some(2) => {
                let (name, start) = stack.pop().expect("what ends has begun");
                slices.push((name, ts - start));
            }
            _ => {}
        }
    }
    slices.sort();
    let of = |name: &str| -> Vec<u64> {
        slices.iter().filter(|slice| slice.0 == name).map(|slice| slice.1).collect()
    };
    assert_eq!(of("read"), [1500]);
    assert_eq!((of("first"), of("second")), (vec![30_000_000], vec![30_000_000]));
    assert_eq!(of("3 of exec (ring full)"), [500_000_000]);
    assert_eq!(of("app"), [400_000_000], "it ran between its waits");
    let left: Vec<String> = open.into_values().flatten().map(|(name, _)| name).collect();
    assert_eq!(left, ["open end"]);
    let samples = trace.packet.iter().filter(|p| matches!(p.data, Some(Data::PerfSample(_))));
    assert_eq!(samples.count(), 4);
}

#[test]
fn rows_of_one_table_or_of_all() {
    let made = eventful();
    let lines = export(&made, &["jsonl", "--table", "exec"]);
    let exec: Value = serde_json::from_str(lines.trim_end()).expect("a line is an object");
    assert_eq!((&exec["pid"], &exec["argv"]), (&json!(10), &json!(["/bin/app", "x"])));
    let folder = tempfile::tempdir().expect("tests may write temporary files");
    let all = folder.path().join("all");
    export_to(&made, &["csv", "--pid", "10"], &all).expect("it is whole");
    let read = |table: &str| {
        csv::Reader::from_path(all.join(format!("{table}.csv"))).expect("it was written")
    };
    assert_eq!(read("sample").records().count(), 3, "of pid 10");
    assert_eq!(read("symbol").records().count(), 3, "all");
    assert!(!all.join("kill.csv").exists(), "there are no rows");
    let again = export_to(&made, &["csv"], &all).expect_err("it is there already");
    assert!(again.to_string().contains("is not empty"), "{again}");
}

#[test]
fn arrow_has_the_tables_types() {
    let made = eventful();
    let bytes = export_bytes(&made, &["arrow", "--table", "syscall"]);
    let reader = arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(bytes), None);
    let reader = reader.expect("it is an Arrow file");
    assert!(reader.schema().metadata().get("lookback.covers").is_some());
    let batches: Vec<_> = reader.map(|batch| batch.expect("it is whole")).collect();
    assert_eq!(batches.len(), 1);
    let column = |name| batches[0].column_by_name(name).expect("it is a column");
    assert_eq!(column("duration").as_primitive::<Int64Type>().values(), &[1500]);
    assert!(column("args").is_null(0) && column("comm").as_string::<i32>().value(0) == "caller");
}

#[test]
fn options_that_do_not_belong_together_are_refused() {
    let made = sampled();
    let error = |args: &[&str]| {
        let error = analyze_at(made.path(), &[&["export", "--format"], args].concat());
        error.expect_err("they do not belong together").to_string()
    };
    assert!(error(&["chrome", "--weight", "offcpu"]).contains("take --format folded"));
    assert!(error(&["pprof", "--table", "exec"]).contains("--table is about rows"));
    assert!(error(&["pprof", "--at", "1s"]).contains("take --weight outstanding"));
}
