"""`python -m jaxconv check`: a function of one's own is right, or wrong with a call to paste."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from commands import refused, run

import jaxconv
import jaxconv.testing
from jaxconv._parameters import geometry_of
from jaxconv.testing import CHECKS, Problem, problems
from jaxconv.testing import check as real_check

MINE = """
import jax

seen = []


def right(lhs, rhs, **arguments):
    seen.append((lhs, rhs, arguments))
    return jax.lax.conv_general_dilated(lhs, rhs, **arguments)


def swapped(lhs, rhs, window_strides, padding, **rest):
    wrong = {"SAME": "SAME_LOWER", "SAME_LOWER": "SAME"}.get(padding, padding)
    return jax.lax.conv_general_dilated(lhs, rhs, window_strides, wrong, **rest)


def strideless(lhs, rhs, window_strides, padding, **rest):
    assert set(window_strides) <= {1}, "no strides"
    return jax.lax.conv_general_dilated(lhs, rhs, window_strides, padding, **rest)


class Layers:
    right = staticmethod(right)


def at_times(lhs, rhs, **arguments):
    seen.append((lhs, rhs, arguments))
    return right(lhs, rhs, **arguments) * (2 if len(seen) == 40 else 1)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder to be in, with modules of its own, which are forgotten afterwards."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "needy.py").write_text("import jax\nimport no_such_thing\n")
    (tmp_path / "torn.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield lambda: sys.modules["mine"]
    assert sys.path == path
    for name in ("mine", "needy", "torn"):
        sys.modules.pop(name, None)


FEW = ("--ndim", "1", "--examples", "5", "--checks", "value")


@pytest.mark.parametrize("name", ["mine:right", "mine:Layers.right"])
def test_check_right(name, mine, capsys):
    code, out, err = run(capsys, "check", name, *FEW)
    assert (code, out, err) == (0, f"{name} is right: 5 problems, value\n", "")
    assert len(mine().seen) == 5
    assert run(capsys, "check", name, *FEW, "--examples", "1")[1] == f"{name} is right: 1 problem, value\n"


def test_check_wrong(mine, capsys):
    code, out, err = run(capsys, "check", "mine:swapped", "--ndim", "1", "--checks", "value", "--no-groups")
    first, report, *call = out.splitlines()
    assert (code, err, first) == (1, "", "mine:swapped is wrong") and report.startswith(
        "value: 1 of 1 values are wrong"
    )
    pasted = {"Problem": Problem, "conv_general_dilated": jax.lax.conv_general_dilated}
    exec("\n".join(call), pasted)
    assert pasted["lhs"].size == 1 and pasted["rhs"].size == 2  # the smallest that has two sides


def test_check_what_raises(mine, capsys, tmp_path):
    code, out, err = run(capsys, "check", "mine:strideless", *FEW[:2], "--checks", "value")
    assert (code, err) == (1, "")
    assert (
        f"it raised AssertionError: no strides ({tmp_path}/mine.py:18)\nlhs, rhs = Problem(lhs_shape=(1, 1, 1)" in out
    )
    assert "out = conv_general_dilated(lhs, rhs, window_strides=(2,)" in out
    assert run(capsys, "check", "mine:strideless", *FEW, "--no-strides")[0] == 0


def test_check_what_is_right_at_times(mine, capsys):
    code, out, err = run(capsys, "check", "mine:at_times", "--ndim", "1", "--checks", "value", "--no-empty")
    assert (code, err) == (1, "")
    first, report, *call = out.splitlines()
    assert first == "mine:at_times is wrong" and report.startswith("not deterministic: value: ")
    assert call[0].startswith("lhs, rhs = Problem(") and call[1].startswith("out = conv_general_dilated(")


def test_check_as_json(mine, capsys):
    code, out, _ = run(capsys, "check", "mine:right", *FEW, "--json")
    expected = {"function": "mine:right", "right": True, "problems": 5, "checks": ["value"]}
    assert code == 0 and json.loads(out) == {**expected, "wrong": None, "call": None}
    code, out, _ = run(capsys, "check", "mine:swapped", "--ndim", "1", "--checks", "value", "--json")
    content = json.loads(out)
    assert code == 1 and not content["right"] and content["problems"] >= 1
    assert content["wrong"].startswith("value: ") and content["call"].startswith("lhs, rhs = Problem(")


def test_check_on_what_it_is_told(mine, capsys):
    narrow = ["--layout", "NHWC", "--taps", "2,3", "--dtype", "bfloat16", "--no-groups", "--no-empty", "--no-strides"]
    narrow += ["--no-lhs-dilation", "--no-rhs-dilation", "--no-preferred-element-type", "--max-macs", "500"]
    assert run(capsys, "check", "mine:right", *narrow, "--checks", "value", "--examples", "20")[0] == 0
    taps = set()
    for lhs, rhs, arguments in mine().seen:
        geometry = geometry_of(lhs, rhs, **arguments)
        assert arguments["dimension_numbers"] == ("NHWC", "HWIO", "NHWC") and geometry.dtype == geometry.out_dtype
        assert geometry.dtype == "bfloat16" and geometry.groups == 1 and geometry.macs <= 500 and lhs.size
        assert {*geometry.strides, *geometry.lhs_dilation, *geometry.rhs_dilation} == {1}
        taps |= {*geometry.kernel}
    assert taps == {2, 3} and len(mine().seen) == 20


def test_check_offers_all_that_the_kit_does(monkeypatch, mine, capsys):
    """Every parameter of `problems` and `check` can be said, and arrives; what is not said is as by default."""
    told = {}

    def check(function, some, **judge):
        told.update(judge)

    def asked(**arguments):
        told.update(arguments)
        return problems(**arguments)

    monkeypatch.setattr("jaxconv.testing.check", check)
    monkeypatch.setattr("jaxconv.testing.problems", asked)
    kit = {**inspect.signature(problems).parameters, **inspect.signature(real_check).parameters}
    defaults = {name: each.default for name, each in kit.items() if name not in ("convolve", "problems")}
    switches = [name for name, default in defaults.items() if default is True]
    assert run(capsys, "check", "mine:right")[0] == 0
    assert told == defaults
    options = [f"--no-{name.replace('_', '-')}" for name in switches]
    options += ["--factor", "2", "--normwise", "--examples", "7", "--checks", "second-derivative", "--taps", "5"]
    options += ["--dtype", "float64", "--dtype", "int8", "--layout", "NCW", "--max-macs", "9"]
    assert run(capsys, "check", "mine:right", *options)[0] == 0
    assert all(told[name] != default for name, default in defaults.items()) and told["checks"] == ["second derivative"]
    assert told["layouts"] == (("NCW", "OIW", "NCW"),) and told["ndim"] == 1 and told["taps"] == (5,)


def test_check_help_names_all_checks(capsys):
    words = " ".join(run(capsys, "check", "--help")[1].split())
    assert all(name.replace(" ", "-") in words.replace("- ", "-") for name in CHECKS)


def test_check_what_cannot_be_imported(mine, capsys, tmp_path):
    said = refused(capsys, "check", "needy:f")
    assert (
        f"needy cannot be imported: ModuleNotFoundError: No module named 'no_such_thing' ({tmp_path}/needy.py:2)"
        in said
    )
    assert "torn cannot be imported: SyntaxError: " in refused(capsys, "check", "torn:f")


def test_from_a_shell(mine, tmp_path):
    """The exit code, the folder one is in, and no colours in a file or a pipe."""
    command = [sys.executable, "-P", "-m", "jaxconv", "check", "mine:swapped", "--ndim", "1", "--checks", "value"]
    root = str(Path(jaxconv.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (1, "") and done.stdout.startswith("mine:swapped is wrong\nvalue: ")
