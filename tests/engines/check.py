#!/usr/bin/env python3
"""Compares the views with our own reports, for the tests.

    check.py ENGINE ANALYZE RECORDING...

makes the views over the recordings in that engine, and compares what they give for each recording with what the
program ANALYZE says: of the tables every row with every column, of the reports what VIEWS has. Polars has no such
views, and only reads the tables. Prints what was compared; fails with what differs.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

from engine import open_engine

ANALYZE = None


def report(*arguments):
    run = subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"analyze {' '.join(arguments)}: {run.stderr}")
    return run.stdout


def rows(*arguments):
    return json.loads(report(*arguments, "--format", "json"))


def runqlat(recording):
    return [row for row in rows("runqlat", recording) if row["count"] > 0]


def runqlat_by_process(recording):
    return rows("runqlat", recording, "--by", "process", "--summary")


def memleak(recording):
    kinds = ["--kind", "heap", "--kind", "slab", "--kind", "percpu"]
    return rows("memleak", recording, "--top", "1000000", *kinds)


def flamegraph(recording):
    lines = [line.rsplit(" ", 1) for line in report("flamegraph", recording, "--folded").splitlines()]
    return [{"stack": stack, "weight": int(weight)} for stack, weight in lines]


def signals(recording):
    keys = ["comm", "sig", "target_comm", "result"]
    count = collections.Counter(tuple(row[key] for key in keys) for row in rows("signals", recording))
    return [dict(zip(keys, key), count=number) for key, number in count.items()]


def exits(recording):
    keys = ["comm", "code", "signal"]
    ends = [row for row in rows("processes", recording, "--exits") if row["process_ended"]]
    groups = collections.defaultdict(list)
    for row in ends:
        groups[tuple(row[key] for key in keys)].append(row)
    return [
        dict(zip(keys, key), count=len(of), duration=sum(row["duration"] for row in of))
        for key, of in groups.items()
    ]


def losses(recording):
    sums = collections.Counter()
    for row in rows("cat", recording, "loss"):
        sums[row["table"], row["reason"]] += row["count"]
    return [{"table": table, "reason": reason, "count": count} for (table, reason), count in sums.items()]


# Of each view: what the report says, and in which columns both must agree.
VIEWS = {
    "runqlat": (runqlat, "low high count"),
    "runqlat_by_process": (runqlat_by_process, "pid count mean p50 p90 p99 p99.9 max"),
    "memleak": (memleak, "kind bytes count"),
    "processes": (
        lambda recording: rows("processes", recording),
        "pid ppid uid start end duration user system max_rss code signal core comm",
    ),
    "syscalls": (lambda recording: rows("syscalls", recording), "number compat count errors time mean p99 max"),
    "opens_failed": (
        lambda recording: [{**row, "errno": -row["result"]} for row in rows("opens", recording, "--failed")],
        "ts pid comm errno path dir duration",
    ),
    "signals": (signals, "comm sig target_comm result count"),
    "exits": (exits, "comm code signal count duration"),
    "tcp_lives": (
        lambda recording: [{**row, "start": row["ts"]} for row in rows("tcp", "lives", recording)],
        "start end duration pid comm laddr lport raddr rport sent received retransmits whole socket",
    ),
    "flamegraph": (flamegraph, "stack weight"),
    "losses": (losses, "table reason count"),
}


def plain(value):
    """A value as both sides can be compared: means are printed with three digits."""
    return round(value, 3) if isinstance(value, float) else value


def counted(found, columns):
    return collections.Counter(tuple(plain(row[column]) for column in columns) for row in found)


def compare(what, expected, got):
    """What only one of them has, in words."""
    differing = [f"{what}: the view lacks {row}" for row in (expected - got).keys()]
    return differing + [f"{what}: the view also has {row}" for row in (got - expected).keys()]


def whole(found, columns):
    """Rows with these columns, as they can be counted: some hold lists."""
    return collections.Counter(json.dumps([row[column] for column in columns], default=list) for row in found)


def source(recording):
    """What the views call it: the host and the recording."""
    path = pathlib.Path(recording)
    return path.parent.name.removeprefix("host="), path.name


def of_source(found):
    """The rows of each recording."""
    groups = collections.defaultdict(list)
    for row in found:
        groups[row["host"], row["recording"]].append(row)
    return groups


def tables(read, recordings):
    differing, compared = [], 0
    folders = {path.parent.name for recording in recordings for path in pathlib.Path(recording).glob("*/*.parquet")}
    for table in sorted(folders):
        found = read(table)
        for recording in recordings:
            expected = rows("cat", recording, table)
            compared += len(expected)
            columns = list(expected[0]) if expected else []
            got = whole(found[source(recording)], columns)
            differing += compare(f"{table} of {recording}", whole(expected, columns), got)
    print(f"{len(folders)} tables: {compared} rows")
    return differing


def reports(query, recordings):
    differing = []
    for view, (expect, columns) in VIEWS.items():
        columns, compared = columns.split(), 0
        found = of_source(query(f"SELECT * FROM {view}"))
        for recording in recordings:
            expected = counted(expect(recording), columns)
            compared += sum(expected.values())
            got = counted(found[source(recording)], columns)
            differing += compare(f"{view} of {recording}", expected, got)
        print(f"{view}: {compared} rows")
    return differing


def empty_views(query, script):
    """Every view is there, under its bare name."""
    views = re.findall(r'CREATE OR REPLACE (?:TEMPORARY )?VIEW ["`](\w+)["`] (?:AS|\()', script)
    for view in views:
        query(f"SELECT * FROM {view} LIMIT 1")
    print(f"{len(views)} views")


def polars_tables(recordings):
    import polars

    def read(table):
        found = {}
        for recording in recordings:
            files = sorted(pathlib.Path(recording, table).glob("*.parquet"))
            frames = [polars.read_parquet(file, hive_partitioning=False) for file in files]
            named = [row for frame in frames for row in frame.iter_rows(named=True)]
            # Older recordings lack some columns, which `analyze` shows as null; in a tree it shows the host.
            host, _ = source(recording)
            found[source(recording)] = [collections.defaultdict(lambda: None, row, host=host) for row in named]
        return found

    return tables(read, recordings)


def main():
    global ANALYZE
    engine, ANALYZE, *recordings = sys.argv[1:]
    if engine == "polars":
        differing = polars_tables(recordings)
    else:
        script = report("views", "--engine", engine, *recordings)
        query = open_engine(engine, script)
        empty_views(query, script)
        differing = tables(lambda table: of_source(query(f"SELECT * FROM {table}")), recordings)
        differing += reports(query, recordings)
    if differing:
        sys.exit("\n".join(differing))


if __name__ == "__main__":
    main()
