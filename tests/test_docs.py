"""What is written runs: docstrings, README, notebooks; and every public name is documented."""

import doctest
import importlib
import inspect
import io
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import nbformat
import pytest
from nbclient import NotebookClient
from rich.console import Console
from test_lowering import DEFAULT, MEASURED_ON_A_GPU, geometry

import jaxconv
import jaxconv.nn
import jaxconv.testing
from jaxconv import _cost
from jaxconv.__main__ import main
from jaxconv._algorithms import _onednn
from jaxconv._bench.figures import compare, geometric_mean, losses, with_xla
from jaxconv._bench.layer import Layer
from jaxconv._command import explain as command
from jaxconv._select import choose

ROOT = Path(__file__).parent.parent
MODULES = [info.name for info in pkgutil.walk_packages(jaxconv.__path__, "jaxconv.") if "__main__" not in info.name]
ENDS_IN_ONEDNN = ("onednn", "polyphase", "strips", "karatsuba")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    with jax.enable_x64(False):
        assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0


def test_readme_examples():
    with jax.enable_x64(False):
        result = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0 and result.failed == 0


def words(path):
    """The text of a file, its lines joined."""
    return " ".join((ROOT / path).read_text().split())


def rows(path, below=""):
    """The cells of every row of the tables in a file, or of those below a heading, by the first of them; of two such
    rows the upper."""
    text = (ROOT / path).read_text()
    lines = re.findall(r"^\| (.+) \|$", text[text.index(below) :], re.MULTILINE)
    return {cells[0]: cells for cells in (line.split(" | ") for line in reversed(lines))}


def test_the_front_page_has_the_figures_that_were_measured():
    readme, front = words("README.md"), rows("README.md")
    core = rows("benchmarks/core.md")
    for direction in ("forward", "input-grad", "weight-grad", "all"):
        assert front[direction] == core[direction]
    steps, kept = rows("benchmarks/models.md"), rows("benchmarks/models-kept-memory.md")

    def ratios(table, name):
        return [table[name][table["model"].index(f"jaxconv over {other}")] for other in ("lax", "torch")]

    networks = steps.keys() - {"model", "---"}
    for name in networks:
        assert front[name] == [name, *ratios(steps, name), *ratios(kept, name)]
    over_lax, over_torch = (
        sorted(float(front[name][column]) for name in networks if name != "geometric mean") for column in (1, 2)
    )
    assert f"networks {over_lax[0]:.1f} to {over_lax[-1]:.1f} times as fast as with lax" in readme
    assert f"{over_torch[0]:.2f} to {over_torch[-1]:.2f} times as fast as in PyTorch" in readme
    mean = front["geometric mean"]
    assert f"(geometric means {mean[1]} and {mean[2]};" in readme
    assert f"they are {mean[3]} and {mean[4]}" in readme


def test_what_keeping_memory_is_said_to_gain():
    """Ours with it, over others without."""
    as_it_is, kept = (
        {row["name"]: row["backends"] for row in json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())["rows"]}
        for name in ("models", "models-kept-memory")
    )
    for other, digits, place, paths in (
        ("lax", 1, r"[Oo]ver lax as it is", ("README.md", "docs/benchmark-report.md")),
        ("torch", 2, r"over PyTorch as it is", ("docs/benchmark-report.md",)),
    ):
        ratios = {name: as_it_is[name][other]["median"] / kept[name]["jaxconv"]["median"] for name in kept}
        for path in paths:
            [said] = re.findall(rf"{place}[:,](.+?geometric mean [\d.]+\d)", words(path))
            assert all(f"{name} {ratio:.{digits}f}, " in said for name, ratio in ratios.items())
            assert said.endswith(f"geometric mean {geometric_mean(ratios.values()):.2f}")


def test_compiling_is_said_to_take_what_it_takes():
    steps = rows("benchmarks/models.md", "## Seconds before the first step")
    lax, ours = (steps["model"].index(f"{contestant} compile") for contestant in ("lax", "jaxconv"))
    times = {name: (float(steps[name][lax]), float(steps[name][ours])) for name in steps.keys() - {"model", "---"}}
    name, (least, most) = max(times.items(), key=lambda item: item[1][1] / item[1][0])
    for path in ("README.md", "docs/benchmark-report.md"):
        assert f"up to {most / least:.1f} times" in words(path)
        assert f"(the {name}, {most:.0f} s instead of {least})" in words(path).replace(f"{name}: ", f"{name}, ")


def test_what_is_said_of_gpus_was_measured():
    """How many times as fast as lax what the chooser takes is."""
    one_axis, dilated, depthwise = [], [], []
    for row in json.loads(MEASURED_ON_A_GPU.read_text())["rows"]:
        layer, seconds = Layer.from_json(row["layer"]), row["seconds"]
        taken = choose(DEFAULT, geometry(layer, row["direction"], row["dtype"]), "cuda").algorithm
        if layer.groups == layer.inputs > 1 == len(layer.spatial) and row["direction"] != "weight-grad":
            one_axis.append(seconds["xla"] / seconds[taken])
        if layer.dilation > 1 and row["direction"] == "weight-grad" and taken != "xla":
            (depthwise if layer.groups == layer.inputs else dilated).append(seconds["xla"] / seconds[taken])
    text = words("README.md")
    assert f"are {min(one_axis):.1f} to {max(one_axis):.0f} times as fast as with lax" in text
    assert f"weight gradients of dilated layers {min(dilated):.1f} to {max(dilated):.0f} times" in text
    assert f"of dilated depthwise ones {min(depthwise):.0f} to {max(depthwise):.0f} times" in text
    steps = rows("benchmarks/models-gpu.md")
    over_lax, over_torch = (
        steps["WaveNet"][steps["model"].index(f"jaxconv over {other}")] for other in ("lax", "torch")
    )
    assert f"of a WaveNet {float(over_lax):.1f} times, still {over_torch} times as fast as in PyTorch" in text


def test_the_cost_model_is_said_to_lose_what_it_loses():
    readme, choosing = words("README.md"), rows("docs/concepts/choosing.md")
    _, count, over_best, over_lax, _, slower = rows("benchmarks/cost.md", "## Layers left out")["all"]
    assert f"take {over_best} times as long" in readme and f"geometric mean of {count} convolutions" in readme
    assert choosing["a tenth of the layers at a time"][1:] == [over_best, over_lax, slower]
    _, count, over_best, over_lax, _, slower = rows("benchmarks/cost.md", "## Suites left out")["all"]
    assert f"at a time they take {over_best} times as long, and {slower} of the {count} are slower than lax" in readme
    assert choosing["a suite at a time"][1:] == [over_best, over_lax, slower]
    _, count, over_best, over_lax, _, slower = rows("benchmarks/cost.md", "## Not fitted")["all"]
    assert f"Of {count} convolutions that it is not fitted to" in readme
    assert f"they take {over_best} times as long, and {slower} are" in readme
    assert choosing["what is not fitted"][1:] == [over_best, over_lax, slower]


def test_what_is_left_without_onednn():
    """As much as lax and PyTorch are said to be ahead then is in the measurements."""
    measured = [with_xla(row) for row in json.loads((ROOT / "benchmarks" / "core.json").read_text())["rows"]]
    without = [
        {**row, "backends": {name: row["backends"][name] for name in row["backends"] if name not in ENDS_IN_ONEDNN}}
        for row in measured
    ]
    lax = sum(line.best == "xla" for line in compare(without, ["lax"]))
    ahead, most = (len(losses(compare(some, ["torch"]), "torch")) for some in (measured, without))
    readme, page = words("README.md"), words("docs/when-to-use-lax.md")
    assert f"the fastest in {lax} of the {len(measured)} cases" in page
    assert f"in {ahead} of the {len(measured)} cases" in page and f"it is ahead in {most} " in page
    assert f"({lax} of the {len(measured)} cases above)" in readme
    assert f"in {ahead} of the {len(measured)} cases above, and in {most} " in readme
    assert all(f'`"{name}"`' in page for name in ENDS_IN_ONEDNN)


@pytest.mark.skipif(bool(_onednn.lack()), reason="the table is of a processor for which oneDNN is there")
@pytest.mark.parametrize("path", ["README.md", "docs/how-to/command-line.md"])
def test_the_table_of_explain_is_what_it_prints(path, monkeypatch):
    form = r'^python -m jaxconv explain "(.+)"\n```\n\n```text\n(.+?)^```'
    [(problem, table)] = re.findall(form, (ROOT / path).read_text(), re.MULTILINE | re.DOTALL)
    out = io.StringIO()
    monkeypatch.setattr(command, "terminal", lambda: Console(file=out, width=120))
    monkeypatch.setattr(_cost, "cores", lambda: 2)
    assert main(["explain", problem]) == 0
    assert out.getvalue() == table


def test_the_version_is_that_of_the_package():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert jaxconv.__version__ == about["version"]
    assert f"Version {about['version']} is not released yet" in words("README.md")
    [jax_needed] = [each.removeprefix("jax>=") for each in about["dependencies"] if each.startswith("jax")]
    for path in ("README.md", "docs/index.md"):
        assert f"Python {about['requires-python'].removeprefix('>=')} or newer" in words(path)
        assert f"jax {jax_needed} or newer" in words(path)


def public_names():
    for module in (jaxconv, jaxconv.nn, jaxconv.testing):
        for name, value in vars(module).items():
            mine = getattr(value, "__module__", "").startswith("jaxconv")
            if mine and not name.startswith("_") and not inspect.ismodule(value):
                yield pytest.param(value, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("value", list(public_names()))
def test_public_names_are_documented(value):
    assert inspect.getdoc(value)
    for function in (value, getattr(value, "init", value)):
        if inspect.isroutine(function):
            assert all(p.annotation is not p.empty for p in inspect.signature(function).parameters.values())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code), "commit the notebook with its outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()


def test_needs_nothing_but_jax_and_numpy():
    """What the extras bring is not there: the library imports all the same."""
    extras = ("hypothesis", "matplotlib", "rich", "sklearn", "flax", "torch", "scipy.signal", "pytest")
    script = f"import sys; sys.modules |= dict.fromkeys({extras}); import jaxconv; print(jaxconv.__doc__)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_there_are_notebooks():
    assert NOTEBOOKS
