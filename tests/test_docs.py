"""What is written runs: docstrings, README, notebooks; and every public name is documented."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import jax
import nbformat
import pytest
from nbclient import NotebookClient

import jaxconv
import jaxconv.nn
import jaxconv.testing

ROOT = Path(__file__).parent.parent
MODULES = [info.name for info in pkgutil.walk_packages(jaxconv.__path__, "jaxconv.") if "__main__" not in info.name]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    with jax.enable_x64(False):
        assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0


def test_readme_examples():
    with jax.enable_x64(False):
        result = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0 and result.failed == 0


def rows(path):
    """The cells of every row of the tables in a file, by the first of them; of two such rows the upper."""
    lines = re.findall(r"^\| (.+) \|$", (ROOT / path).read_text(), re.MULTILINE)
    return {cells[0]: cells for cells in (line.split(" | ") for line in reversed(lines))}


def test_the_front_page_has_the_figures_that_were_measured():
    readme, front = (ROOT / "README.md").read_text(), rows("README.md")
    core = rows("benchmarks/core.md")
    for direction in ("forward", "input-grad", "weight-grad", "all"):
        assert front[direction] == core[direction]
    steps = rows("benchmarks/models.md")
    columns = [steps["model"].index(f"jaxconv over {other}") for other in ("lax", "torch")]
    networks = steps.keys() - {"model", "---"}
    for name in networks:
        assert front[name] == [name, *(steps[name][column] for column in columns)]
    gains = sorted(float(front[name][1]) for name in networks if name != "geometric mean")
    assert f"networks {gains[0]:.1f} to {gains[-1]:.1f} times as fast" in readme
    count, over_best = rows("benchmarks/cost.md")["all"][1:3]
    assert f"take {over_best} times as long" in readme and f"geometric mean of {count} convolutions" in readme


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
