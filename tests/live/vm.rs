//! The tracer `vm`, against a program that knows what it has mapped.
//!
//! The replay here knows the owner of each page, and nothing of intervals.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

use std::collections::{BTreeMap, HashMap};

use lookback_schemas::tables::{Vm, vm::Call};

use super::shared;
use super::sites::{Site, Stacks, report, site_of_row};
use crate::recording::{Record, Recorded, assert_same, known, rows_in_time};
use crate::running::Running;
use crate::workload::{self, Fact, fact, facts};

/// `mremap` leaves the old pages where they are.
const DONT_UNMAP: i32 = 4;

fn page_size() -> i64 {
    // SAFETY: no memory is involved.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }
}

/// Records the program while it waits, or from its first instruction.
fn record(waits: bool) -> (Recorded, String) {
    if !waits {
        let recorded = Record::trace("vm").workload::<&str>("maps", []).run();
        let output = recorded.stdout().to_owned();
        return (recorded, output);
    }
    let mut command = std::process::Command::new(workload::path("maps"));
    let mut running = Running::start(command.arg("wait"));
    running.await_line("ready");
    let mut recorder = Record::trace("vm").pid(running.pid()).start();
    recorder.attached();
    running.send_line();
    let ended = running.end();
    assert!(ended.status.success(), "{ended:?}");
    (recorder.finish(), ended.stdout)
}

/// A call: its name; address, bytes, old address, old bytes; flags, protection, file and error.
type Made = (String, [Option<i64>; 4], [Option<i32>; 4]);

fn made(fact: &Fact) -> Made {
    let long = |key| Some(fact.int(key)).filter(|value| *value != -1);
    let short = |key| Some(fact.int32(key)).filter(|value| *value != -1);
    let longs = ["address", "bytes", "old", "old_bytes"].map(long);
    (fact.word("call").to_owned(), longs, ["flags", "protection", "fd", "error"].map(short))
}

/// The rows of what the program did between its `began` and its `ended`, in the order of time. Those
/// that moved no break are left out: they are questions where it is.
fn rows(recorded: &Recorded, output: &str) -> Vec<usize> {
    let table = recorded.table::<Vm>();
    let span = fact(output, "began").int("at")..=fact(output, "ended").int("at");
    rows_in_time(&table.ts, |row| {
        let asks = table.call.value(row) == Call::Brk as i32
            && known(&table.address, row) == known(&table.old, row);
        span.contains(&recorded.monotonic(table.ts.value(row)))
            && !asks
            && known(&table.old, row) != Some(0)
    })
}

#[test]
fn each_call_is_recorded_with_its_result() {
    let Some(_turn) = shared(&["vm"]) else { return };
    let (recorded, output) = record(false);
    recorded.assert_nothing_lost();
    let pid = fact(&output, "maps").int32("pid");
    let table = recorded.table::<Vm>();
    let facts = facts(&output, "call");
    let rows = rows(&recorded, &output);
    let recorded_calls: Vec<Made> = rows
        .iter()
        .map(|row| {
            let longs = [&table.address, &table.bytes, &table.old, &table.old_bytes];
            let shorts = [&table.flags, &table.protection, &table.fd, &table.error];
            let call = Call::from_code(table.call.value(*row)).unwrap();
            assert_eq!((table.pid.value(*row), table.tid.value(*row)), (pid, pid));
            (
                call.name().to_owned(),
                longs.map(|column| known(column, *row)),
                shorts.map(|column| known(column, *row)),
            )
        })
        .collect();
    assert_same(&recorded_calls, &facts.iter().map(made).collect::<Vec<_>>());

    for (row, fact) in rows.iter().zip(&facts) {
        let (ts, duration) = (table.ts.value(*row), table.duration.value(*row));
        // `munmap` has the time when it was entered.
        let entered = if fact.word("call") == "munmap" { ts } else { ts - duration };
        recorded.assert_within(fact, entered, duration);
    }
    let errors: std::collections::BTreeSet<i32> =
        facts.iter().filter_map(|fact| made(fact).2[3]).collect();
    let each = [libc::EBADF, libc::ENOMEM, libc::EEXIST, libc::EINVAL];
    assert_eq!(errors, each.into_iter().collect(), "the workload sees them all");
}

/// The owner of each page, by the page's address.
type Pages = BTreeMap<i64, Site>;

/// Replays what happened, page by page.
fn replay(recorded: &Recorded, output: &str) -> Pages {
    let table = recorded.table::<Vm>();
    let stacks = Stacks::read(recorded);
    let mut pages: HashMap<i64, Option<Site>> = HashMap::new();
    let all = |start: i64, bytes: i64| (start..start + bytes).step_by(page_size() as usize);
    for row in rows(recorded, output) {
        let Some(address) = known(&table.address, row) else { continue };
        let call = Call::from_code(table.call.value(row)).unwrap();
        let bytes = known(&table.bytes, row).unwrap_or(0);
        let (old, old_bytes) = (known(&table.old, row), known(&table.old_bytes, row).unwrap_or(0));
        let owner = known(&table.stack, row).and_then(|stack| stacks.site(stack, "maps"));
        // What goes goes first: it may be moved over itself.
        match call {
            Call::Mremap if known(&table.flags, row).unwrap() & DONT_UNMAP == 0 => {
                all(old.unwrap(), old_bytes).for_each(|page| _ = pages.remove(&page));
            }
            Call::Munmap => all(address, bytes).for_each(|page| _ = pages.remove(&page)),
            Call::Brk => {
                all(address, old.unwrap() - address).for_each(|page| _ = pages.remove(&page))
            }
            Call::Mmap | Call::Mremap => {}
        }
        let mapped = match call {
            Call::Mmap | Call::Mremap => all(address, bytes),
            Call::Munmap => continue,
            Call::Brk => all(old.unwrap(), address - old.unwrap()),
        };
        pages.extend(mapped.map(|page| (page, owner.clone())));
    }
    pages.into_iter().map(|(page, owner)| (page, owner.expect("a site"))).collect()
}

#[test]
fn what_is_mapped_in_the_end_is_known_page_by_page() {
    let Some(_turn) = shared(&["vm"]) else { return };
    for waits in [false, true] {
        let (recorded, output) = record(waits);
        let regions = facts(&output, "region");
        let mut expected: BTreeMap<i64, String> = BTreeMap::new();
        let mut by_site: BTreeMap<String, i64> = BTreeMap::new();
        for region in &regions {
            let (start, bytes) = (region.int("start"), region.int("bytes"));
            *by_site.entry(region.word("site").to_owned()).or_default() += bytes;
            for page in (start..start + bytes).step_by(page_size() as usize) {
                let other = expected.insert(page, region.word("site").to_owned());
                assert_eq!(other, None, "the workload's regions are in order");
            }
        }
        let found: BTreeMap<i64, String> = replay(&recorded, &output)
            .into_iter()
            .map(|(page, (function, _))| (page, function))
            .collect();
        assert_eq!(found, expected);

        let mut reported: BTreeMap<String, i64> = BTreeMap::new();
        for row in report(&recorded, "vm", &[]) {
            // The loader maps what it loads.
            let Some((function, _)) = site_of_row(&row) else { continue };
            *reported.entry(function).or_default() += row["bytes"].as_i64().unwrap();
        }
        assert_eq!(reported, by_site);
    }
}
