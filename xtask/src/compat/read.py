"""What a release of the platform says of the runs in a data dir, as JSON: argv is the data dir, the ids' file, the answers' file.

Speaks to the release as a user would: its client and its command line.
"""
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone

data_dir, wanted, answers = pathlib.Path(sys.argv[1]).resolve(), json.load(open(sys.argv[2])), sys.argv[3]
name = "testerkit" if importlib.util.find_spec("testerkit") else "litmus"
module = importlib.import_module(f"{name}.client")
client = (module.TesterKitClient if name == "testerkit" else module.LitmusClient)(data_dir=data_dir)


def plain(value):
    """Anything as JSON: times in UTC, numbers that JSON has no word for as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return value.astimezone(timezone.utc).isoformat()
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def model(summary):
    return None if summary is None else plain(summary.model_dump())


def show(run_id):
    """`litmus show` into a JSON report."""
    out = data_dir.parent / f"show-{run_id}.json"
    command = [str(pathlib.Path(sys.executable).parent / name), "show", run_id, "--data-dir", str(data_dir), "-f", "json"]
    done = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True, timeout=120)
    if not out.exists():
        return {"error": (done.stdout + done.stderr)[-2000:]}
    return plain(json.loads(out.read_text()))


def end_daemons():
    """The release starts daemons for a data dir; they are told by it on their command lines."""
    for folder in pathlib.Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
            if folder.name.isdigit() and int(folder.name) != os.getpid() and f"{name}.data." in line and str(data_dir) in line:
                os.kill(int(folder.name), signal.SIGTERM)
        except (OSError, ValueError):
            pass


try:
    # The index is built in the background.
    until = time.time() + 60
    while True:
        listed = {run.test_run_id: run for run in client.list_runs(limit=100000)}
        if set(wanted) <= set(listed) or time.time() > until:
            break
        time.sleep(0.2)
    runs = {
        run_id: {
            "list_runs": model(listed.get(run_id)),
            "get_run": model(client.get_run(run_id)),
            "measurements": plain(client.get_measurements(run_id)),
            "show": show(run_id),
        }
        for run_id in wanted
    }
finally:
    end_daemons()
version = importlib.metadata.version("testerkit" if name == "testerkit" else "litmus-test")
json.dump({"release": f"{name} {version}", "listed": len(listed), "runs": runs}, open(answers, "w"), indent=1)
