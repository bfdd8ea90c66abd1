"""Prints what Speedscope's page shows of a file in Chromium, after checking it by the package's schema unless it
is a trace of Chrome's.

    speedscope.py PACKAGE FILE
"""

import base64
import json
import pathlib
import subprocess
import sys
import tempfile

import jsonschema

package, path = map(pathlib.Path, sys.argv[1:3])
release = package.resolve() / "dist" / "release"
profile = json.loads(path.read_text(encoding="utf-8"))
if "traceEvents" not in profile:
    jsonschema.validate(profile, json.loads((release / "file-format-schema.json").read_text()))
    frames = len(profile["shared"]["frames"])
    for of in profile["profiles"]:
        assert len(of["samples"]) == len(of["weights"]) and sum(of["weights"]) == of["endValue"]
        assert all(0 <= frame < frames for sample in of["samples"] for frame in sample)
with tempfile.TemporaryDirectory() as folder:
    # As its own command line hands over a file.
    script = pathlib.Path(folder) / "profile.js"
    content = base64.b64encode(path.read_bytes()).decode()
    script.write_text(f"speedscope.loadFileFromBase64({json.dumps(path.name)}, {json.dumps(content)})")
    page = f"file://{release}/index.html#localProfilePath={script}&view=sandwich"
    chromium = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--use-gl=swiftshader",
                "--enable-unsafe-swiftshader", "--allow-file-access-from-files", f"--user-data-dir={folder}/chromium",
                "--virtual-time-budget=20000", "--dump-dom", page]
    print(subprocess.run(chromium, capture_output=True, text=True, check=True, timeout=300).stdout)
