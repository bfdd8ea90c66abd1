#!/usr/bin/env python3
"""Reads a recording with pyarrow: a model for readers of your own.

usage: reader.py RECORDING            how many rows each table has, and what is missing
       reader.py RECORDING TABLE      the rows of a table as JSON, a line each, in the order of time
       reader.py RECORDING stacks     the hottest stacks of `sample`, with names
"""

import json
import sys
from collections import Counter
from itertools import takewhile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def manifest(recording):
    """What the recording is."""
    content = json.loads((recording / "manifest.json").read_text())
    if content["format"] > 1:
        sys.exit(f"{recording}: of a newer format")
    return content


def segment(path):
    """The rows of a segment; of one that has no footer yet, or never will, those that its sidecar tells of."""
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, FileNotFoundError):
        data = path.read_bytes() if path.exists() else b""
        footer = path.with_name(path.name + ".footer").read_bytes()
    if not footer:
        return None  # The machine stopped before the disk had it.
    # The offsets in a footer count from the start of the file: behind the data it is where it belongs.
    file = pq.ParquetFile(pa.BufferReader(data + footer))

    def there(at):
        group = file.metadata.row_group(at)
        chunks = [group.column(column) for column in range(group.num_columns)]
        starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
        return all(start + chunk.total_compressed_size <= len(data) for start, chunk in zip(starts, chunks))

    return file.read_row_groups(list(takewhile(there, range(file.num_row_groups))))


def table(recording, name):
    """All rows of a table. Columns that only some segments have are null in the others."""
    files = {str(path).removesuffix(".footer") for path in (recording / name).glob("*.parquet*")}
    segments = [segment(Path(path)) for path in sorted(files) if path.endswith(".parquet")]
    segments = [rows for rows in segments if rows is not None]
    return pa.concat_tables(segments, promote_options="default") if segments else pa.table({})


def stack_names(recording):
    """For each stack the names of its functions, the innermost first, inlined ones as calls of their own."""
    names = {}
    for row in table(recording, "symbol").to_pylist():
        names.setdefault(row["frame"], []).append((-row["depth"], row["name"]))
    named = {frame: [name for _, name in sorted(inlined)] for frame, inlined in names.items()}
    return {
        row["id"]: [name for frame in row["frames"] for name in named.get(frame, ["?"])]
        for row in table(recording, "stack").to_pylist()
    }


def main(recording, asked=None):
    about = manifest(recording)
    if asked is None:
        print(f"{about['host']['name']}, Linux {about['host']['kernel']}")
        print("ended:", about["ended"]["why"] if about["ended"] else "no, killed or still running")
        for folder in sorted(path for path in recording.iterdir() if path.is_dir() and path.name != "binaries"):
            print(f"{folder.name:<12} {table(recording, folder.name).num_rows:>8}")
        for loss in table(recording, "loss").to_pylist():
            print(f"{loss['count']} of {loss['table']} from {loss['ts']} to {loss['end']}: {loss['reason']}")
    elif asked == "stacks":
        names = stack_names(recording)
        weights = Counter()
        for sample in table(recording, "sample").to_pylist():
            stacks = [names[sample[kind]] for kind in ("kernel_stack", "user_stack") if sample[kind] is not None]
            weights[";".join(reversed(sum(stacks, [])))] += sample["period"]
        for stack, weight in weights.most_common(5):
            print(weight, stack)
    else:
        rows = table(recording, asked)
        # Rows stand in the order in which CPUs' buffers were emptied.
        for row in (rows.sort_by("ts") if "ts" in rows.column_names else rows).to_pylist():
            print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
