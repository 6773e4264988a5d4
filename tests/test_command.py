"""What all commands have in common: help, what is not installed, and wrong input, which is named in a line."""

import tomllib
from pathlib import Path

import pytest
from commands import TEXT, refused, run

from jaxconv import __main__ as entry


def test_without_a_command_it_helps(capsys):
    code, out, err = run(capsys)
    assert (code, out) == (2, "") and all(f"    {name} " in err for name in entry.COMMANDS)


def test_version(capsys, monkeypatch):
    assert run(capsys, "--version")[:2] == (0, f"jaxconv {entry.version('jaxconv') or '(not installed)'}\n")
    monkeypatch.setattr(entry, "version", lambda package: None)
    assert run(capsys, "--version")[:2] == (0, "jaxconv (not installed)\n")


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_every_command_has_help(name, capsys):
    code, out, _ = run(capsys, name, "--help")
    assert code == 0 and out.startswith(f"usage: jaxconv {name} ")


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_what_is_missing_is_said(name, monkeypatch, capsys):
    needs = entry.COMMANDS[name].needs
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(entry.COMMANDS, name, entry.COMMANDS[name]._replace(run=lambda options: 0))
    required = {"explain": [TEXT], "tune": [TEXT], "check": ["a:b"]}.get(name, [])
    if needs:
        said = f"jaxconv {name}: this needs {', '.join(needs)}: pip install 'jaxconv[cli]'\n"
        assert refused(capsys, name, *required) == said
    else:
        assert run(capsys, name, *required)[0] == 0


def test_the_extra_brings_what_they_need():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["jaxconv"] == "jaxconv.__main__:main"
    extras = project["optional-dependencies"]
    brought = {"scikit-learn" if need == "sklearn" else need for one in entry.COMMANDS.values() for need in one.needs}
    assert brought <= {*extras["cli"], *extras["demo"], *extras["tools"]} and "jaxconv[demo,tools]" in extras["cli"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["magic"], "jaxconv: argument COMMAND: invalid choice: 'magic'"),
        (["explain"], "jaxconv explain: no problem is given; a convolution is 'conv LHS RHS key=value ...'"),
        (["tune"], "jaxconv tune: no problem is given"),
        (["explain", "conv 1x2x3x4 1x1x4x2 stride=no"], "jaxconv explain: 'stride=no' in"),
        (["tune", "core/AlexNet"], "jaxconv tune: 'core/AlexNet': no layer of core has"),
        (["explain", "--suite", "lenet"], "jaxconv explain: 'lenet/' is neither conv nor a suite"),
        (["explain", TEXT, "--layer", "3b"], "jaxconv explain: --layer is of no --suite"),
        (["explain", TEXT, "--direction", "backward"], "jaxconv explain: argument --direction: invalid choice"),
        (["explain", TEXT, "--accuracy", "good"], "argument --accuracy: invalid choice: 'good'"),
        (["explain", TEXT, "--max-workspace-bytes", "-1"], "must be an integer of 0 or more, got '-1'"),
        (["explain", TEXT, "--max-workspace-bytes", "16M"], "must be an integer of 0 or more, got '16M'"),
        (["explain", f"{TEXT} dtype=int8", "--direction", "input-grad"], "int8 has no gradients, and so no input-grad"),
        (["explain", TEXT, "--plan", "/nowhere/plan.json"], "no such plan: "),
        (["explain", TEXT, "--plan", "plan.json", "--default"], "not allowed with argument --plan"),
        (["explain", TEXT, "--html", "/dev/null/page.html"], "--html: [Errno"),
        (["tune", TEXT, "--out", "/dev/null/plan.json"], "/dev/null/plan.json cannot be added to"),
        (["tune", TEXT, "--seconds", "soon"], "argument --seconds: must be a finite number of 0 or more, got 'soon'"),
        (["tune", TEXT, "--seconds", "-1"], "argument --seconds: must be a finite number of 0 or more, got '-1'"),
        (["tune", TEXT, "--seconds", "nan"], "argument --seconds: must be a finite number of 0 or more, got 'nan'"),
        (["check"], "jaxconv check: the following arguments are required: MODULE:FUNCTION"),
        (["check", "function"], "'function' must be a module and a function of it, as in package.module:function"),
        (["check", "mine.py:function"], "'mine.py:function' must be a module and a function of it"),
        (["check", "no_such.module:function"], "there is no module 'no_such', neither here nor installed"),
        (["check", "json.no_such:function"], "there is no module 'json.no_such', neither here nor installed"),
        (["check", "json:no_such"], "'json:no_such': module 'json' has no attribute 'no_such'"),
        (["check", "json:__name__"], "'json:__name__' cannot be called, it is str"),
        (["check", "json:dumps", "--checks", "value,speed"], "there is no 'speed'; there are value, jit, vmap, jvp"),
        (["check", "json:dumps", "--examples", "0"], "must be a positive integer, got '0'"),
        (["check", "json:dumps", "--examples", "x"], "argument --examples: must be a positive integer, got 'x'"),
        (["check", "json:dumps", "--factor", "-1"], "--factor: must be a finite number of 0 or more, got '-1'"),
        (["check", "json:dumps", "--factor", "nan"], "--factor: must be a finite number of 0 or more, got 'nan'"),
        (["check", "json:dumps", "--ndim", "4"], "argument --ndim: invalid choice: 4"),
        (["check", "json:dumps", "--dtype", "real"], "--dtype: 'real' is not among those that are tried, float32"),
        (["check", "json:dumps", "--layout", "NWHC"], "--layout: 'NWHC' must be NHWC (channels last)"),
        (["check", "json:dumps", "--layout", "NWC", "--layout", "NHWC"], "--layout: all must be of as many axes"),
        (["check", "json:dumps", "--taps", "3,0"], "must be positive integers with commas between, got '3,0'"),
    ],
)  # fmt: skip
def test_wrong_input_is_named_in_a_line(arguments, said, capsys):
    assert said in refused(capsys, *arguments)
