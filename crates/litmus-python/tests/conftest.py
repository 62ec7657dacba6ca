"""What the tests share: real run files, and real servers that each test starts for itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT / "tests" / "corpus"


def sources() -> list[tuple[Path, dict[str, Any]]]:
    """Every data dir of the corpus, and by file what the platform's own reader says of it."""
    found = []
    for oracle in sorted(CORPUS.glob("*/*/expected.json")):
        files = json.loads(oracle.read_text(encoding="utf-8"))["files"]
        found.append((oracle.parent / "data", files))
    assert found, f"no data dir in {CORPUS}"
    return found


@pytest.fixture
def flat_data() -> Path:
    """A data dir of litmus-test 0.1.3."""
    return CORPUS / "litmus-test-0.1.3" / "client" / "data"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for the ledger that is this test's own."""
    folder = tmp_path / "state"
    monkeypatch.setenv("LITMUS_HOST_STATE_DIR", str(folder))
    return folder


def _serve(name: str) -> Iterator[dict[str, str]]:
    """One of the servers of tests/src/servers; it ends when its standard input is closed."""
    program = os.environ["LITMUS_TEST_SERVER"]
    server = subprocess.Popen([program, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None
    try:
        yield json.loads(server.stdout.readline())
    finally:
        server.stdin.close()
        server.wait(timeout=60)
        server.stdout.close()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An S3 server with an empty bucket, and an environment in which it is where S3 is."""
    for values in _serve("s3"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", values["endpoint"])
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "K")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        yield values


@pytest.fixture
def postgres() -> Iterator[dict[str, str]]:
    """A PostgreSQL server."""
    yield from _serve("postgres")
