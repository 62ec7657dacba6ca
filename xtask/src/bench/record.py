"""What the platform's own client takes for the same runs: argv is the folder and how many. Prints seconds as JSON."""
import importlib
import importlib.util
import json
import pathlib
import statistics
import sys
import time

name = "testerkit" if importlib.util.find_spec("testerkit") else "litmus"
module = importlib.import_module(f"{name}.client")
client = (module.TesterKitClient if name == "testerkit" else module.LitmusClient)(data_dir=pathlib.Path(sys.argv[1]))
serial, unit = ("uut_serial", "unit") if name == "testerkit" else ("dut_serial", "units")

seals, wholes = [], []
for at in range(int(sys.argv[2])):
    started = time.perf_counter()
    run = client.start_run(**{serial: f"SN{at}"}, station_id="bench_1")
    for number in range(8):
        with run.step(f"step_{number}") as step:
            for m in range(5):
                step.measure(f"m{m}", 3.3 + m / 100, **{unit: "V"}, low=3.0, high=3.6)
    sealing = time.perf_counter()
    run.finish()
    seals.append(time.perf_counter() - sealing)
    wholes.append(time.perf_counter() - started)
print(json.dumps({"seal": statistics.median(seals), "whole": statistics.median(wholes)}))
