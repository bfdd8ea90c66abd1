#!/usr/bin/env python3
"""Writes the queries of tests/queries with what DuckDB gives for them, as a part of docs/tables.md.

    queries.py ANALYZE        in the folder of the recordings

The first line of a query says what it asks, the second which recording.
"""

import pathlib
import subprocess
import sys

from engine import open_engine


INTRODUCTION = """
As DuckDB answers them, once it has read what `analyze views --engine duckdb RECORDING` prints: the tables above are
views with two more columns, `host` and `recording`, and there are views of our reports ([sql.md](sql.md)). With views
over several recordings, join by `host` and `recording` as well. Each is run by a test, and gives what stands below it.
"""


def table(rows):
    names = list(rows[0])
    lines = [names, ["---"] * len(names)]
    lines += [["" if row[name] is None else str(row[name]) for name in names] for row in rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main():
    analyze = sys.argv[1]
    print(INTRODUCTION)
    for file in sorted((pathlib.Path(__file__).parent.parent / "queries").glob("*.sql")):
        title, recording, *sql = file.read_text(encoding="utf-8").splitlines()
        title, recording = title.removeprefix("-- "), recording.removeprefix("-- ")
        views = [analyze, "views", "--engine", "duckdb", recording]
        script = subprocess.run(views, capture_output=True, text=True, check=True).stdout
        rows = open_engine("duckdb", script)("\n".join(sql))
        if not rows:
            sys.exit(f"{file.name} gives no rows")
        print(f"## {title}\n\n```sql\n" + "\n".join(sql) + f"\n```\n\nOf `fixtures/{recording}`:\n")
        print(table(rows))


if __name__ == "__main__":
    main()
