"""Training by many processes: the losses of one, each with its part of the images, and an end when one of them dies."""

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "train_digits_sharded.py"
STEPS, BATCH = 6, 32
FOREVER = 20_000  # steps, some minutes: an end even where nobody is left to kill it
BOUND = 600  # seconds, on hanging: a run takes some ten on a quiet machine
LOSES_THE_OTHERS = r"another process died|the JAX distributed service detected fatal errors"  # ours; JAX's own


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def by_hand(count: int, port: int) -> list[tuple[list[str], dict[str, str]]]:
    """Flags and variables of each process."""
    here = ["--coordinator", f"localhost:{port}", "--processes", str(count)]
    return [([*here, "--process-id", str(i)], {}) for i in range(count)]


def by_slurm(count: int, port: int) -> list[tuple[list[str], dict[str, str]]]:
    """The same as srun sets them. The port, which comes from the number of the job, might be taken here."""
    job = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(count)}
    job["JAX_COORDINATOR_PORT"] = str(port)
    return [([], {**job, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)}) for i in range(count)]


class Job:
    """Processes of the example, one device each.

    Attributes:
      processes: in the order of their numbers.
      logs: what each prints, stderr included.
    """

    def __init__(self, folder: Path, started: list[tuple[list[str], dict[str, str]]], flags: list[str]):
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "JAX_", "XLA_"))}
        own |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        own |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiling is most of the work
        command = [sys.executable, "-u", str(EXAMPLE), "--cpu-devices", "1", "--dtype", "float64", "--log-every", "1"]
        command += ["--batch", str(BATCH), *flags]
        self.logs = [folder / f"process{i}.log" for i in range(len(started))]
        self.processes = []
        for log, (its_flags, variables) in zip(self.logs, started, strict=True):
            with log.open("w") as out:
                self.processes.append(
                    subprocess.Popen(
                        [*command, *its_flags], env={**own, **variables}, stdout=out, stderr=subprocess.STDOUT
                    )
                )

    def said(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()}" for log in self.logs)

    def train_until(self, step: int) -> None:
        """Wait for it, or for an end before."""
        deadline = time.monotonic() + BOUND
        while f"step {step}:" not in self.logs[0].read_text() and self.processes[0].poll() is None:
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def codes(self) -> list[int]:
        """Exit codes, once all have ended."""
        deadline = time.monotonic() + BOUND
        try:
            return [process.wait(max(0, deadline - time.monotonic())) for process in self.processes]
        except subprocess.TimeoutExpired:
            pytest.fail(f"still there after {BOUND} seconds:\n{self.said()}")


@contextmanager
def job(folder: Path, started: list[tuple[list[str], dict[str, str]]], *flags: object) -> Iterator[Job]:
    folder.mkdir(exist_ok=True)
    running = Job(folder, started, list(map(str, flags)))
    try:
        yield running
    finally:
        for process in running.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    """Losses and accuracy of one process with one device, for which there are no flags."""
    folder = tmp_path_factory.mktemp("alone")
    with job(folder, [([], {})], "--steps", STEPS, "--losses", folder / "losses.json") as one:
        assert one.codes() == [0], one.said()
    result = json.loads((folder / "losses.json").read_text())
    assert len(result["losses"]) == STEPS and result["losses"][-1] < result["losses"][0]
    return result


def check_losses(losses: list[float], alone: dict) -> None:
    """In float64, whose sums of some thousand terms in another order differ by as many roundings, 2e-16 each."""
    np.testing.assert_allclose(losses[:STEPS], alone["losses"], rtol=1e-12)


def check_parts(logs: list[Path], part: tuple[int, ...], whole: tuple[int, ...]) -> None:
    """Each process has a part of the images, and all together have them once."""
    kept = [re.findall(r"keeps ([\dx]+) pixels of the ([\dx]+)", log.read_text()) for log in logs]
    shapes = [tuple(tuple(map(int, shape.split("x"))) for shape in pair) for [pair] in kept]
    assert shapes == [(part, whole)] * len(logs)
    assert len(logs) * prod(part) == prod(whole)


def test_four_processes_train_as_one(tmp_path, alone):
    losses = tmp_path / "losses.json"
    started = by_hand(4, free_port())
    with job(tmp_path, started, "--mesh", "2x2", "--steps", STEPS, "--losses", losses) as four:
        assert four.codes() == [0] * 4, four.said()
    result = json.loads(losses.read_text())
    assert len(result["losses"]) == STEPS
    check_losses(result["losses"], alone)
    assert result["accuracy"] == alone["accuracy"]
    check_parts(four.logs, (42, BATCH // 2, 4, 8, 1), (42, BATCH, 8, 8, 1))


def test_slurm_starts_and_ends_two(tmp_path, alone):
    """SIGTERM to one of them: both stop after the same step, and keep the losses."""
    losses = tmp_path / "losses.json"
    with job(tmp_path, by_slurm(2, free_port()), "--mesh", "1x2", "--steps", FOREVER, "--losses", losses) as two:
        two.train_until(STEPS)
        two.processes[1].send_signal(signal.SIGTERM)
        assert two.codes() == [128 + signal.SIGTERM] * 2, two.said()
    result = json.loads(losses.read_text())
    assert f"stop after step {len(result['losses']) - 1}\n" in two.logs[0].read_text()
    check_losses(result["losses"], alone)
    assert result["accuracy"] is None
    check_parts(two.logs, (42, BATCH, 4, 8, 1), (42, BATCH, 8, 8, 1))


@pytest.mark.parametrize("victim", [0, 1], ids=["coordinator", "worker"])
def test_a_killed_process_ends_the_other(tmp_path, victim):
    with job(tmp_path, by_hand(2, free_port()), "--mesh", "2x1", "--steps", FOREVER) as two:
        two.train_until(2)
        assert two.processes[victim].poll() is None, two.said()
        two.processes[victim].kill()
        codes = two.codes()
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] != 0, two.said()
    assert re.search(LOSES_THE_OTHERS, two.logs[1 - victim].read_text()), two.said()


def test_a_silent_process_ends_the_other(tmp_path):
    """It keeps its connections but sends nothing, as a machine that is gone. Nor is anything sent by processes that are
    held up for longer than this on a busy machine: then the end comes early, and is the same."""
    flags = "--mesh", "2x1", "--steps", FOREVER, "--heartbeat-seconds", 10
    with job(tmp_path, by_hand(2, free_port()), *flags) as two:
        two.train_until(2)
        two.processes[1].send_signal(signal.SIGSTOP)
        assert two.processes[0].wait(BOUND) != 0, two.said()
    assert re.search(LOSES_THE_OTHERS, two.logs[0].read_text()), two.said()


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("train_digits_sharded", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--mesh 2x2", r"--mesh 2x2 is for 4 devices, and there are 8, 8 of them in this process, of 1 processes"),
        ("--mesh 8", r"--mesh must be two numbers such as 4x2, got 8"),
        ("--mesh -4x-2", r"--mesh -4x-2 is for 8 devices"),
        ("--batch 12", r"--batch 12 cannot be shared out evenly over the 8 of --mesh 8x1"),
        ("--batch 2000", r"--batch 2000 is more than the 1347 digits to learn from"),
        ("--steps 0", r"argument --steps: invalid positive value: '0'"),
    ],
)
def test_what_cannot_be_shared_out(example, capsys, flags, message):
    with pytest.raises(SystemExit, match="2"):
        options = example.parser.parse_args(flags.replace("--mesh ", "--mesh=").split())
        dict(example.load(example.make_mesh(options), options))
    assert message in capsys.readouterr().err


def test_rows_that_cannot_be_shared_out(example, capsys, monkeypatch):
    monkeypatch.setattr(example.jax, "device_count", lambda: 3)
    with pytest.raises(SystemExit, match="2"):
        example.make_mesh(example.parser.parse_args(["--mesh", "1x3"]))
    assert "the 8 rows of a digit cannot be shared out evenly over the 3" in capsys.readouterr().err


def test_half_of_what_a_process_must_know(tmp_path):
    """It does not train alone: that would be the work of many, done by each."""
    with job(tmp_path, [(["--processes", "2"], {})]) as one:
        assert one.codes() == [2], one.said()
    assert "--coordinator, --processes and --process-id are (None, 2, None): coordinator" in one.said()
