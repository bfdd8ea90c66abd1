//! A program to be sampled: Debian's own Python, which was compiled without frame pointers.

/// What runs it.
pub const PYTHON: &str = "/usr/bin/python3";

/// Work of several kinds, all in C: calls of calls, a parser, a sort that calls back. Its argument says
/// how many seconds it takes.
pub const PROGRAM: &str = "\
import json, re, sys, time
data = [{'a': i, 'b': [str(i)] * 5, 'c': {'d': i / 3}} for i in range(200)]
begun = time.monotonic()
while time.monotonic() - begun < float(sys.argv[1]):
    text = json.dumps(data)
    json.loads(text)
    re.sub(r'(\\d+)(\\w?)', lambda m: m.group(1), text)
    sorted(data, key=lambda it: str(it['c']))
";
