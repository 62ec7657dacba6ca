"""The pages of the platform's documentation, out of the releases that carry them.

`cargo xtask test-python` fetches the wheels from PyPI (`LITMUS_PAGES` is their folder): what runs here is what users read.
"""

from __future__ import annotations

import os
import re
import textwrap
import zipfile
from pathlib import Path

_PAGES = {
    "litmus logging": ("litmus_test-0.1.3-*.whl", "litmus/_docs/integration/data/logging.md"),
    "litmus client": ("litmus_test-0.1.3-*.whl", "litmus/_docs/reference/runtime/client.md"),
    "testerkit logging": ("testerkit-0.6.0-*.whl", "testerkit/_docs/integration/data/logging.md"),
}


def blocks(page: str) -> list[str]:
    """Every block of Python on a page, its imports changed to ours and nothing else."""
    wheel, path = _PAGES[page]
    [file] = Path(os.environ["LITMUS_PAGES"]).glob(wheel)
    with zipfile.ZipFile(file) as archive:
        text = archive.read(path).decode()
    found = [textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)]
    return [re.sub(r"^from (litmus\.client|testerkit) import", "from litmus_host import", block, flags=re.MULTILINE) for block in found]


def run(block: str, namespace: dict[str, object]) -> dict[str, object]:
    """Runs a block as a user who pasted it."""
    exec(compile(block, "<block of the page>", "exec"), namespace)
    return namespace
