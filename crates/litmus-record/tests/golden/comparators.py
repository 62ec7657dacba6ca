"""What a release of the platform makes of every comparator, value and limit. Writes the table to argv[1]."""
import importlib
import itertools
import json
import sys

try:
    name = importlib.import_module("testerkit").__name__
except ImportError:
    name = importlib.import_module("litmus").__name__
models = importlib.import_module(f"{name}.data.models")
client = importlib.import_module(f"{name}.client")
unit = "unit" if name == "testerkit" else "units"

inf, nan = float("inf"), float("nan")
VALUES = [None, nan, -inf, inf, 1.0, 2.0, 3.0, -0.0, 5e-324]
LIMITS = [None, nan, -inf, inf, 1.0, 2.0, 0.0]
NOMINALS = [None, nan, 2.0, 0.0, inf]
COMPARATORS = ["EQ", "NE", "LT", "LE", "GT", "GE", "GELE", "GELT", "GTLE", "GTLT"]


def shown(value):
    if value is None or value == value and abs(value) != inf:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def outcome(value, low, high, nominal, comparator):
    """As the client records it, through a step of its own."""
    step = client.StepBuilder(None, "s")
    measured = step.measure("m", value, low=low, high=high, nominal=nominal, comparator=comparator)
    return measured.outcome.value if measured.outcome else None


LETTERS = {None: "-", "done": "d", "passed": "p", "failed": "f"}
outcomes = {}
for comparator in COMPARATORS:
    cases = itertools.product(VALUES, LIMITS, LIMITS, NOMINALS)
    outcomes[comparator] = "".join(LETTERS[outcome(*case, comparator)] for case in cases)
table = {
    "order": "for each value, for each low, for each high, for each nominal",
    "values": [shown(value) for value in VALUES],
    "limits": [shown(limit) for limit in LIMITS],
    "nominals": [shown(nominal) for nominal in NOMINALS],
    "letters": {letter: word for word, letter in LETTERS.items()},
    "outcomes": outcomes,
}
with open(sys.argv[1], "w") as out:
    out.write(json.dumps(table, indent=1) + "\n")
