"""The documentation says what is there: every name, page, figure and example. `make docs` builds it, links checked."""

import doctest
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import jax
import pytest
import yaml

import jaxconv
from jaxconv._accuracy import ERROR_FACTOR, NORMWISE
from website import algorithms, docstrings, figures, markers, navigation, reference

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
GENERATED = [ROOT / "docs" / path for path in reference.pages()]  # on the site only
every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.mark.parametrize("package", reference.packages())
def test_the_reference_has_every_public_name(package):
    named = {
        name
        for name, value in vars(import_module(package)).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    directives = re.findall(rf"^::: {re.escape(package)}\.(\w+)$", reference.page(package), re.MULTILINE)
    assert named and sorted(directives) == sorted(named)


def test_every_public_name_is_in_the_index_with_what_it_says_of_itself():
    index = reference.index()
    for package in reference.packages():
        assert f"## {package}\n" in index
        for name in sum((group.names for group in reference.groups(package)), ()):
            [summary] = re.findall(
                rf"^\| \[`{name}`\]\[{re.escape(package)}\.{name}\] \| (.+) \|$", index, re.MULTILINE
            )
            assert summary.strip()


def test_navigation():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    complete = list(navigation.pages(navigation.unfolded(nav)))
    written = [path.relative_to(ROOT / "docs").as_posix() for path in PAGES]
    shown = [path for path in navigation.mirrored() if Path(path).suffix in (".md", ".ipynb")]
    assert sorted(complete) == sorted([*written, *shown, *reference.pages()])
    assert all(list(ROOT.glob(pattern)) for pattern in navigation.MIRRORED)


@every_page
def test_markers(path):
    text = markers.expanded(path.read_text(), "how-to")
    assert text and "{{" not in text


def test_links_of_what_is_included_hold_where_it_is_included(monkeypatch):
    monkeypatch.setitem(
        markers.MARKERS, "it", lambda: "[a](benchmarks/a.md#b) [c](https://d.e/f) [g](#h) [i](docs/j.md)"
    )
    text = markers.expanded("[x](y.md)\n{{ it }}\n", "how-to/accelerate")
    assert text == "[x](y.md)\n[a](../../benchmarks/a.md#b) [c](https://d.e/f) [g](#h) [i](../../j.md)\n"


def test_links_of_pages_out_of_docs_hold_on_the_site():
    """Pages of docs/ are at its root there, what is beside docs/ as well."""
    text = "[a](../../benchmarks/a.md#b) [c](../c.md) [e](e.md) `f[0](a // b)` [g](https://h.i/../j)\n"
    onsite = "[a](../benchmarks/a.md#b) [c](../c.md) [e](e.md) `f[0](a // b)` [g](https://h.i/../j)\n"
    assert markers.expanded(text, "how-to") == onsite
    assert markers.expanded("![a](../benchmarks/charts/a.png)") == "![a](benchmarks/charts/a.png)"


def links(page):
    """Those within the repository."""
    return re.findall(r"\]\((?!\w+:)([^)]+)\)", page.read_text())


def dead_links(page):
    """The links of a page, as it is read in the repository, that lead to no file of it or to no heading there."""
    return [link for link in links(page) if not leads_somewhere(page, link)]


def leads_somewhere(page, link):
    path, _, place = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    headings = re.findall("^#+ (.+)$", target.read_text(), re.M) if place and target.is_file() else []
    slugs = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
    return place in slugs if place else target.is_file() or target in GENERATED


def test_links_of_the_front_page_hold():
    """On the site mkdocs checks links; README.md is read where the repository is."""
    readme = ROOT / "README.md"
    assert len(links(readme)) > 20 and any("#" in link[1:] for link in links(readme))
    assert not dead_links(readme)


@every_page
def test_links_of_pages_hold_in_the_repository(path):
    """README.md leads to them there."""
    assert not dead_links(path)


def test_dead_links_are_found(tmp_path):
    (tmp_path / "a.md").write_text(
        "# A page\n[b](b.md) [c](#a-page) [d](#d) [e](a.md#a-page) [f](a.md#f) [g](https://h)\n"
    )
    assert dead_links(tmp_path / "a.md") == ["b.md", "#d", "a.md#f"]


@pytest.mark.parametrize("marker, message", [("{{ nothing }}", "'nothing'.*readme"), ("{{ readme: X }}", "'X'.*Use")])
def test_markers_that_mean_nothing(marker, message):
    with pytest.raises(ValueError, match=message):
        markers.expanded(marker)


@every_page
def test_examples(path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # read when it is imported
    if path.parent.name == "accelerate" and path.stem != "index":
        pytest.importorskip(path.stem)  # each of these pages is about the library that it is named for
    with jax.enable_x64(False):
        assert doctest.testfile(str(path), module_relative=False, optionflags=doctest.ELLIPSIS).failed == 0


def test_docstrings_as_markdown():
    text = (
        "Sum *S.\n\n    code *S\n\nArgs:\n  x: `*S`, *S.\n  a, b: c, d.\n\nLike this:\n\n>>> f(\n...     1)\n2\n\nDone."
    )
    assert docstrings.for_markdown(text) == (
        "Sum \\*S.\n\n    code *S\n\nArgs:\n  x: `*S`, \\*S.\n  a,\N{NO-BREAK SPACE}b: c, d.\n\n"
        "Like this:\n\n```pycon\n>>> f(\n...     1)\n2\n```\n\nDone."
    )


def test_formulas():
    pytest.importorskip("latex2mathml")
    from website.maths import drawn

    script = "<!-- Load mathjax -->x<!-- End of mathjax configuration -->"
    page = drawn("<p>$a &lt; b$ costs 5$</p><pre>$x$</pre>$$\n\\sum_i i\n$$" + script)
    assert page.count("<math") == 2 and "&#x0003C;" in page and "costs 5$</p><pre>$x$</pre>" in page
    assert "mathjax" not in page


def test_every_algorithm_is_described():
    assert list(algorithms.homes()) == list(jaxconv.ALGORITHMS)
    table = re.findall(r'^\| `"(\w+)"` \|', markers.readme("Algorithms"), re.MULTILINE)
    assert table == list(jaxconv.ALGORITHMS)
    headings = re.findall(r"^## (.+)$", algorithms.derivations(), re.MULTILINE)
    assert set(", ".join(headings).split(", ")) >= set(jaxconv.ALGORITHMS)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Writes a file of results."""
    monkeypatch.setattr(figures, "BENCHMARKS", tmp_path)

    def write(name, rows, **more):
        (tmp_path / name).write_text(json.dumps({"environment": {"jax": "1.2"}, "rows": rows, **more}))

    return write


def test_where_no_algorithm_is_faster(measured):
    def row(name, **seconds):
        backends = {backend: {"median": value} for backend, value in seconds.items()}
        return {"name": name, "direction": "forward", "backends": backends}

    rows = [row("lost", lax=1.0, im2col=2.0), row("close", lax=1.1, im2col=1.0), row("won", lax=3.0, im2col=1.0)]
    measured("core.json", rows)
    text = figures.no_faster("core.json")
    assert "Of 3 cases lax is the fastest in 1, and within a quarter of the fastest in 1 more." in text
    assert "- lost, forward" in text and "jax 1.2" in text
    assert "won" not in text and "close" not in text
    measured("core.json", rows[1:])
    text = figures.no_faster("core.json")
    assert "Of 2 cases lax is the fastest in none, and within a quarter of the fastest in 1." in text
    assert "- " not in text


def test_after_how_many_steps_compiling_pays(measured):
    def row(name, ours):
        times = {"lax": {"compile": 1.0, "median": 0.5}, "jaxconv": {"compile": 11.0, "median": ours}}
        return {"name": name, "backends": times}

    measured("models.json", [row("fast", 0.25), row("slow", 0.6)])
    text = figures.models()
    assert "| fast | 1.0 | 11.0 | 500 | 250 | 40 |" in text and "| slow | 1.0 | 11.0 | 500 | 600 | never |" in text


def test_errors_stand_in_the_column_of_their_algorithm(measured):
    rows = [
        {
            "layer": "a",
            "dtype": dtype,
            "algorithm": name,
            "componentwise": error,
            "normwise": error / 2,
            "promised": True,
        }
        for dtype, name, error in [("float32", "fft", 4.0), ("float32", "xla", 0.5), ("float64", "fft", 9.0)]
    ]
    stated = {"xla": {"factor": 1.0, "normwise": False}, "fft": {"factor": 2.0, "normwise": True}}
    stated["strips"] = {"factor": 1.0, "normwise": False}  # in no row
    rows.append({**rows[0], "layer": "constant", "componentwise": 77.0, "promised": False})
    measured("accuracy.json", rows, stated=stated)
    text = figures.accuracy()
    assert "| layer | xla | fft |" in text and "| a | 0.5 | 4 |" in text and "| a | 0.25 | 2 |" in text
    assert "| stated | 1 |  |" in text and "| stated |  | 2 |" in text and "9" not in text
    assert "None of these layers is for `strips`" in text
    assert text.count("| constant |  | 77 |") == 1


def test_the_committed_errors_are_of_all_algorithms_and_within_the_bounds():
    content = json.loads((ROOT / "benchmarks" / "accuracy.json").read_text())
    assert set(content["stated"]) == set(jaxconv.ALGORITHMS)
    assert content["stated"] == {
        name: {"factor": factor, "normwise": name in NORMWISE} for name, factor in ERROR_FACTOR.items()
    }
    for row in filter(lambda row: row["promised"], content["rows"]):
        promise = content["stated"][row["algorithm"]]
        assert row["normwise" if promise["normwise"] else "componentwise"] <= promise["factor"]


def test_changelog_has_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in (ROOT / "CHANGELOG.md").read_text()


def blocks():
    """File -> what CONTRIBUTING.md says is to stand in it."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return dict(re.findall(r'^```python title="([^"]+)"\n(.+?)^```$', text, re.MULTILINE | re.DOTALL))


def test_adding_an_algorithm_in_one_file_and_two_rows(tmp_path):
    """In a copy of the repository, by what CONTRIBUTING.md says, and judged by the tests that are there."""
    for folder in ("jaxconv", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file, table, exactness = blocks().items()
    (tmp_path / file[0]).write_text(file[1])
    for path, row in (table, exactness):
        text = (tmp_path / path).read_text()
        [last] = re.findall(r'^    "xla": .+\n', text, re.MULTILINE)
        (tmp_path / path).write_text(
            text.replace("from . import (\n", "from . import (\n    gather,\n").replace(last, row + last)
        )

    some = (
        "values or derivatives or volumes or without_64 or unusual or where_they_belong or small and last and forward"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"gather and ({some})"]
    command += [f"tests/test_{name}.py" for name in ("algorithms", "settings", "memory")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "HYPOTHESIS_PROFILE": "quick"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    passed = re.search(r"(\d+) passed", run.stdout)
    assert run.returncode == 0 and passed and int(passed[1]) >= 12, run.stdout[-3000:]
