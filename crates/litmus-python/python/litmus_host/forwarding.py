"""Sends a sealed run onward: litmus-host itself, run as a child for one run, with the same plugins and the same ledger."""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import toml
from .errors import ForwardError
from .program import VARIABLE, find_program

_log = logging.getLogger("litmus_host.forward")
_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

# What litmus-host says where another one serves the store.
_STORE_IS_SERVED = "another litmus-host delivers from this store"
_LOOK_AGAIN_S = 0.2


@dataclass(frozen=True)
class SinkOutcome:
    """Where a sink stands, in runs: those of this call."""

    name: str
    destination: str
    state: str
    delivered: int = 0
    already_present: int = 0
    superseded: int = 0
    quarantined: int = 0
    pending: int = 0
    gone: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ForwardOutcome:
    """How a call of forward() ended. A run that is there already, or in a newer revision, has arrived."""

    sinks: list[SinkOutcome]
    troubles: list[str] = field(default_factory=list)

    @property
    def delivered(self) -> int:
        """Runs written by this call."""
        return sum(sink.delivered for sink in self.sinks)

    @property
    def already_present(self) -> int:
        """Runs that were found there. One that an earlier call has delivered is not looked for again, and counted nowhere."""
        return sum(sink.already_present for sink in self.sinks)

    @property
    def destination(self) -> str:
        """The destination's id."""
        return self.sinks[0].destination if self.sinks else ""


def forward(
    run_id: Any,
    plugin: str = "postgres.so",
    *,
    data_dir: str | os.PathLike[str],
    state_dir: str | os.PathLike[str] | None = None,
    plugin_dir: str | os.PathLike[str] | None = None,
    start: str | None = None,
    give_up_after: float = 60.0,
    wait: float = 60.0,
    **config: Any,
) -> ForwardOutcome:
    """See :func:`litmus_host.forward`."""
    run_id = str(getattr(run_id, "run_id", run_id))
    if "/" in plugin:
        # A relative path would start at the configuration's folder, which is none.
        plugin = os.path.abspath(plugin)
    arguments = [
        *("forward", "--quiet", "--format", "json", "--log-format", "json", "--color", "never"),
        *("--run", run_id, "--data-dir", os.fspath(data_dir), "--give-up-after", f"{max(0, round(give_up_after * 1000))}ms"),
    ]
    for flag, value in (("--state-dir", state_dir), ("--plugin-dir", plugin_dir), ("--start", start)):
        if value is not None:
            arguments += [flag, os.fspath(value)]
    settings = f"[[sink]]\nplugin = {toml.text(plugin)}\nconfig = {toml.inline(_absolute(config), 'the configuration')}\n"
    until = time.monotonic() + wait
    while True:
        ended = _run([find_program(), *arguments], settings)
        is_served = ended.code == 2 and _STORE_IS_SERVED in ended.message
        if not is_served or time.monotonic() >= until:
            return ended.outcome_or_raise(run_id)
        time.sleep(_LOOK_AGAIN_S)


def sync_settings(database: Any) -> tuple[str, dict[str, Any]]:
    """Plugin and settings for a database: a URL, a path, or an open connection to a SQLite file."""
    if isinstance(database, sqlite3.Connection):
        path = next((row[2] for row in database.execute("PRAGMA database_list") if row[1] == "main"), "")
        if not path:
            raise ForwardError("the connection is to a database in memory", "forward into a file, or read the run with Client")
        if database.in_transaction:
            raise ForwardError(f"the connection to {path} is in a transaction, which locks the file", "commit before the call")
        return "sqlite.so", {"path": path}
    text = os.fspath(database)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    if scheme and scheme[1].lower() in ("postgres", "postgresql"):
        return "postgres.so", {"url": text}
    if scheme and scheme[1].lower() == "sqlite":
        # As SQLAlchemy writes it: sqlite:///relative, sqlite:////absolute.
        return "sqlite.so", {"path": text.removeprefix(scheme[0]).removeprefix("///")}
    if scheme and "://" in text:
        raise ForwardError(f"there is no sink for {scheme[1]}://", "a postgres:// URL or the path of a SQLite file")
    return "sqlite.so", {"path": text}


def upload_uri(bucket: str) -> str:
    """A bare name is a bucket of S3."""
    return bucket if "://" in bucket else f"s3://{bucket}"


@dataclass
class _Ended:
    code: int
    stdout: str
    message: str
    hint: str | None

    def outcome_or_raise(self, run_id: str) -> ForwardOutcome:
        outcome = _outcome(self.stdout)
        if self.code == 0 and outcome is not None:
            return outcome
        problems = [problem for sink in outcome.sinks for problem in sink.problems] if outcome else []
        problems += outcome.troubles if outcome else []
        if self.message:
            problems.insert(0, self.message)
        if not problems:
            states = ", ".join(f"{sink.name} is {sink.state}" for sink in outcome.sinks) if outcome else ""
            problems = [states or f"litmus-host ended with exit code {self.code}"]
        message, found = _split_hint("; ".join(problems))
        hint = self.hint or found
        if not message.startswith(f"run {run_id}"):
            message = f"run {run_id} did not arrive: {message}"
        raise ForwardError(message, hint, self.code, outcome)


def _run(command: list[str], settings: str) -> _Ended:
    """The configuration goes over a file in memory: it may hold passwords, which are nobody's to see in a list of processes."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    descriptor = os.memfd_create("litmus-host.toml")
    try:
        with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as file:
            file.write(settings)
        config = f"/proc/self/fd/{descriptor}"
        ended = subprocess.run(
            [*command, "--config", config],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=(descriptor,),
            env=environment,
            check=False,
        )
    finally:
        os.close(descriptor)
    # Line and column of what nobody wrote help nobody.
    told = re.sub(rf"{re.escape(config)}(:\d+:\d+)?: ", "", ended.stderr.decode(errors="replace"))
    lines = told.replace(config, "the settings").splitlines()
    said = [line for line in lines if not _logged(line)]
    message, hint = _split_hint("\n".join(said).removeprefix("error: "))
    return _Ended(ended.returncode, ended.stdout.decode(errors="replace"), message, hint)


def _logged(line: str) -> bool:
    """Hands a line of litmus-host's log on to Python's; anything else it says is for the exception."""
    if not line.startswith("{"):
        return False
    try:
        entry = json.loads(line)
        _log.log(_LEVELS.get(entry["level"], logging.INFO), "%s: %s", entry["target"], entry["message"])
    except (ValueError, KeyError, TypeError):
        return False
    return True


def _split_hint(text: str) -> tuple[str, str | None]:
    message, found, hint = text.partition("hint:")
    return message.rstrip(" \n("), hint.strip() if found else None


def _outcome(stdout: str) -> ForwardOutcome | None:
    try:
        told = json.loads(stdout)
        names = SinkOutcome.__dataclass_fields__
        sinks = [SinkOutcome(**{name: value for name, value in sink.items() if name in names}) for sink in told["sinks"]]
        return ForwardOutcome(sinks, list(told["troubles"]))
    except (ValueError, KeyError, TypeError):
        return None


def _absolute(config: Any) -> Any:
    """``{"file": …}`` is a secret out of a file; a relative path starts at the working folder, as on the command line."""
    if isinstance(config, Mapping):
        if set(config) == {"file"} and isinstance(config["file"], (str, os.PathLike)):
            return {"file": str(Path(config["file"]).absolute())}
        return {key: _absolute(value) for key, value in config.items()}
    return config
