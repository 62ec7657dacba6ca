"""What `cargo xtask wheel` asks of a wheel that it just installed: reading and forwarding with nothing but what is in it."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import litmus_host
from litmus_host.program import BUNDLED, find_program

data = next(Path(sys.argv[1]).glob("litmus-test-0.1.3/client/data"))
assert find_program() == str(BUNDLED), f"the program in use is {find_program()}"
# Nothing else that is called litmus-host may help.
os.environ["PATH"] = "/usr/bin:/bin"

client = litmus_host.Client(data)
run = client.list_runs()[0]
with tempfile.TemporaryDirectory() as folder:
    database = Path(folder, "runs.db")
    outcome = client.sync_to_database(run, database, state_dir=folder + "/state")
    assert outcome.delivered == 1, outcome
    connection = sqlite3.connect(database)
    found = connection.execute("SELECT run_id FROM test_runs").fetchall()
    assert found == [(run.run_id,)], found
    connection.close()

plugins = subprocess.run([sys.executable, "-m", "litmus_host", "plugins"], capture_output=True, text=True, check=True)
for name in ("cloud", "postgres", "sqlite", "syslog"):
    assert name in plugins.stdout, plugins.stdout
print(f"litmus_host {Path(litmus_host.__file__).parent}: reads, and forwards through its own plugins")
