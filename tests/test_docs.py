"""What is written runs: docstrings, README, notebooks; and every public name is documented."""

import doctest
import importlib
import inspect
import pkgutil
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
