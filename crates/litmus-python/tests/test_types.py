"""The types that others check their code by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import litmus_host

PACKAGE = Path(litmus_host.__file__).parent


def mypy(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_stub_says_what_the_native_part_has(tmp_path: Path) -> None:
    told = mypy("mypy.stubtest", "litmus_host._native", "--ignore-disjoint-bases", folder=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_package_and_a_users_program_check_strictly(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from litmus_host import Client, LitmusHandler\n"
        "client = Client('results')\n"
        "with client.start_run('SN1', 'bench_1') as run, run.step('s') as step:\n"
        "    reveal_type(step.measure('v', 1.0).outcome)\n"
        "    LitmusHandler(run).step = step\n"
        "reveal_type(client.get_run('x'))\n"
        "reveal_type(client.get_measurements('x'))\n"
        "reveal_type(client.upload_results('x', 'bucket').delivered)\n"
    )
    told = mypy("mypy", "--strict", "--cache-dir", str(tmp_path), str(program), str(PACKAGE), folder=tmp_path)
    revealed = [line.split('"')[1] for line in told.stdout.splitlines() if "Revealed type" in line]
    assert revealed == ["str | None", "litmus_host.summary.RunSummary | None", "list[dict[str, Any]]", "int"], told.stdout
    assert told.returncode == 0, told.stdout + told.stderr
