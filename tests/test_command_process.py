"""Commands as processes: interrupted, without a device, to a reader that stops, where characters cannot be printed."""

import os
import re
import subprocess
import sys

import jax
import pytest
from commands import TEXT, refused, run
from test_bench_report import row as row_of_times

from jaxconv import __main__ as entry
from jaxconv._bench.results import Results


def test_interrupted_anywhere(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setitem(entry.COMMANDS, "env", entry.COMMANDS["env"]._replace(run=interrupted))
    assert run(capsys, "env") == (130, "", "jaxconv env: interrupted\n")


ASKED = {"explain": [TEXT], "tune": [TEXT], "check": ["json:dumps"]}


@pytest.mark.parametrize("name", sorted({*entry.COMMANDS} - {"bench", "env"}))
def test_without_a_device_it_is_said_in_a_line(name, monkeypatch, capsys, tmp_path):
    """As `bench` does, which has other processes look for it; and `env` is there to be asked about that."""

    def no_devices(*_):
        raise RuntimeError("no backend\nhere")

    monkeypatch.setattr(jax, "devices", no_devices)
    monkeypatch.chdir(tmp_path)
    said = f"jaxconv {name}: JAX finds no device: no backend here\n"
    assert refused(capsys, name, *ASKED.get(name, [])) == said and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("platform", ["cuda", "nowhere"])
@pytest.mark.parametrize("name", ["explain", "bench", "env"])
def test_what_is_said_of_a_platform_that_is_not_here(name, platform):
    """JAX has no words for one that it knows."""
    if platform == "cuda" and jax.default_backend() != "cpu":
        pytest.skip("it may be here")
    command = [sys.executable, "-m", "jaxconv", name, *ASKED.get(name, [])]
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if name == "env":
        assert done.returncode == 0 and "Traceback" not in done.stderr
        assert re.search(f"^device +.*'{platform}'", done.stdout, re.M)
        assert re.search(f"^plan +.*'{platform}'", done.stdout, re.M)
    else:
        last = done.stderr.splitlines()[-1]
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert last.startswith(f"jaxconv {name}: JAX finds no device: ") and f"'{platform}'" in last


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setitem(entry.COMMANDS, "env", entry.COMMANDS["env"]._replace(run=lambda options: {}["nothing"]))
    with pytest.raises(KeyError):
        entry.main(["env"])


@pytest.mark.parametrize("arguments", [["explain", TEXT], ["explain", TEXT, "--json"], ["env"]], ids=" ".join)
def test_whoever_reads_may_stop_reading(arguments):
    """As `head` does; of little output, Python notices when it flushes stdout."""
    command = [sys.executable, "-m", "jaxconv", *arguments]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 1)


@pytest.mark.parametrize(
    "settings, encoding",
    [
        ({"PYTHONIOENCODING": "ascii"}, "ascii"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii"),
    ],
)
def test_where_characters_cannot_be_printed(settings, encoding, tmp_path):
    """Others stand for them: of ±, boxes, and names of layers. Files have them all."""
    path, report, name = tmp_path / "out.json", tmp_path / "report.md", "a\N{MULTIPLICATION SIGN}b\N{SNOWMAN}"
    Results(path, {"settings": {}}, [row_of_times(name, lax=2e-3, im2col=1e-3)]).write()
    command = [sys.executable, "-m", "jaxconv", "bench", "--report-only", "--out", str(path), "--markdown", str(report)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **settings})
    assert (done.returncode, done.stderr) == (0, b"")
    words = done.stdout.decode(encoding)
    assert all(each.encode(encoding, "replace").decode(encoding) in words for each in (f" {name} ", " 1.00 ±10% "))
    assert f"| {name} |" in report.read_text(encoding="utf-8")
