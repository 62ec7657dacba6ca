"""``python -m litmus_host`` and the command ``litmus-host``: the program in the package, as if it were called itself."""

from __future__ import annotations

import os
import sys

from .errors import LitmusHostError
from .program import find_program


def main() -> None:
    try:
        program = find_program()
    except LitmusHostError as error:
        sys.exit(f"error: {error}")
    os.execv(program, ["litmus-host", *sys.argv[1:]])


if __name__ == "__main__":
    main()
