"""What is not installed is asked for only where it is needed, and by its name."""

import importlib
import json
import sys
import tomllib
from pathlib import Path

import pytest
from commands import TEXT, refused, run
from test_bench_report import ROWS

from jaxconv import __main__ as entry
from jaxconv import _autotune
from jaxconv._bench.results import Results
from jaxconv._plan_file import Tuned

SOMETIMES = ("matplotlib", "platformdirs", "rich")
CHECK = ["check", "jax.lax:conv_general_dilated", "--ndim", "1", "--examples", "1", "--checks", "value"]


@pytest.fixture
def without(monkeypatch):
    """As if packages were not installed."""

    def hide(*packages):
        loaded = [name for name in sys.modules if name.partition(".")[0] in packages]
        for name in (*packages, *loaded):
            monkeypatch.setitem(sys.modules, name, None)

    return hide


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path / "out.json", {"settings": {}}, ROWS)
    results.write()
    return results.path


@pytest.mark.parametrize(
    "arguments, needed",
    [
        (["explain", TEXT], "rich"),
        (["explain", TEXT, "--default"], "platformdirs, rich"),
        (["explain", TEXT, "--default", "--json"], "platformdirs"),
        (["tune", TEXT], "rich"),
        (["tune", TEXT, "--default", "--json"], "platformdirs"),
        (CHECK, "rich"),
        (["bench", "--charts", "charts"], "matplotlib"),
    ],
)
def test_what_some_options_need_is_said_at_once(arguments, needed, without, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_autotune, "tune", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr("jaxconv._bench.run.measure_all", lambda *_: pytest.fail("measured"))
    without(*(set(SOMETIMES) - ({"rich"} if arguments[0] == "bench" else set())))
    said = f"jaxconv {arguments[0]}: this needs {needed}: pip install 'jaxconv[cli]'\n"
    assert refused(capsys, *arguments) == said and not [*tmp_path.iterdir()]


def test_json_needs_nothing_to_draw_with(without, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(_autotune, "tune", lambda *_: Tuned("xla", {"xla": 1.0}, {}))
    without(*SOMETIMES)
    for arguments in (["explain", TEXT], ["tune", TEXT, "--out", tmp_path / "plan.json"], CHECK):
        code, out, err = run(capsys, *arguments, "--json")
        assert (code, err) == (0, "") and json.loads(out)


def test_a_report_without_charts_needs_nothing_to_draw_with(without, capsys, results):
    without("matplotlib")
    code, out, err = run(capsys, "bench", "--report-only", "--out", results)
    assert (code, err) == (0, "") and "best algorithm over lax" in out


def test_the_extra_brings_what_some_options_need():
    project = tomllib.loads((Path(entry.__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert {*SOMETIMES} <= {*project["optional-dependencies"]["tools"]}


def test_the_test_kit_says_what_it_needs(without, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("jaxconv.testing")]:
        monkeypatch.delitem(sys.modules, name)
    without("hypothesis")
    with pytest.raises(ImportError, match=r"^jaxconv\.testing needs hypothesis: pip install hypothesis$"):
        importlib.import_module("jaxconv.testing")
