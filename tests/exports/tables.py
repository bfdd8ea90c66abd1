"""Counts the rows that pyarrow finds in each Arrow file of a folder, and adds up a column: `table rows sum`."""

import pathlib
import sys

import pyarrow as pa
import pyarrow.compute as pc

for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    table = pa.ipc.open_file(path).read_all()
    table.validate(full=True)
    assert b"lookback.covers" in table.schema.metadata, path
    for field in table.schema:
        assert pa.types.is_signed_integer(field.type) or field.type in (
            pa.string(), pa.bool_(), pa.list_(pa.string()), pa.list_(pa.int64())
        ), f"{path}: {field}"
    total = pc.sum(table["pid"]).as_py() if "pid" in table.column_names else None
    print(path.stem, table.num_rows, total)
