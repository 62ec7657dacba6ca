"""Where litmus-host itself is: the program that forwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .errors import LitmusHostError

#: Names another program than the one in the package.
VARIABLE = "LITMUS_HOST_PROGRAM"
#: Where a wheel has it; the plugins lie beside it, in ../lib/litmus/plugins.
BUNDLED = Path(__file__).parent / "dist" / "bin" / "litmus-host"


def find_program() -> str:
    """The program: as ``LITMUS_HOST_PROGRAM`` names it, in this package, or on ``PATH``."""
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise LitmusHostError(f"{VARIABLE} names {named}, which is not a program", "unset it to use the package's own")
        return named
    if os.access(BUNDLED, os.X_OK):
        return str(BUNDLED)
    found = shutil.which("litmus-host")
    # Our own command of that name only starts the program in the package.
    if found and not _is_script(found):
        return found
    raise LitmusHostError(
        f"litmus-host is neither in the package ({BUNDLED}) nor on PATH",
        f"install a wheel made by `cargo xtask wheel`, or name the program in {VARIABLE}",
    )


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return True
