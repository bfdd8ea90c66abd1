"""Reads Chrome's trace JSON as its description says ("Trace Event Format"), and prints `kind name count`.

Slices of a thread must nest, and every stack must be spelled out.
"""

import collections
import json
import sys
from decimal import Decimal

trace = json.load(open(sys.argv[1], encoding="utf-8"), parse_float=Decimal)
assert set(trace) == {"traceEvents", "displayTimeUnit", "stackFrames", "otherData"}
frames = trace["stackFrames"]
assert all(frame.get("parent") is None or frame["parent"] in frames for frame in frames.values())
counts, slices = collections.Counter(), collections.defaultdict(list)
for event in trace["traceEvents"]:
    phase, name = event["ph"], event["name"]
    assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
    # Perfetto takes 32 bits.
    assert 0 <= event["pid"] < 2**32 and 0 <= event["tid"] < 2**32
    if phase == "M":
        assert name in ("process_name", "thread_name") and isinstance(event["args"]["name"], str)
        continue
    ts = Decimal(event["ts"])
    if phase == "X":
        slices[event["pid"], event["tid"]].append((ts, -Decimal(event["dur"])))
        counts["slice", name] += 1
    elif phase == "B":
        counts["unfinished", name] += 1
    elif phase == "i":
        assert event["s"] == "t"
        if name == "sample":
            assert "sf" not in event or event["sf"] in frames
            name, kind = event["args"].get("function", ""), "sample"
        else:
            kind = "instant"
        counts[kind, name] += 1
    else:
        assert phase == "C" and all(isinstance(value, int) for value in event["args"].values())
        counts["counter", name] += 1
for track in slices.values():
    ends = []
    for start, length in sorted(track):
        while ends and ends[-1] <= start:
            ends.pop()
        assert not ends or start - length <= ends[-1]
        ends.append(start - length)
for (kind, name), count in sorted(counts.items()):
    print(kind, name.replace("\n", " "), count)
