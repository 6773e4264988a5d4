"""`python -m jaxconv bench` and the files it is given: what cannot be read or written is said in a line, at once."""

import errno
import json
import os
import tempfile
from pathlib import Path

import pytest
from commands import refused, run
from test_bench_report import ROWS

from jaxconv._bench.device import Device
from jaxconv._bench.results import Results
from jaxconv._command.command import UsageError, check_file
from jaxconv._files import write_atomically

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch):
    monkeypatch.setattr("jaxconv._bench.device.find", lambda: Device("cpu", "cpu"))
    monkeypatch.setattr("jaxconv._bench.run.measure_all", lambda *_: pytest.fail("measured"))


@pytest.fixture
def results(tmp_path):
    """A file of them, and how to write others of their first row."""
    path = tmp_path / "out.json"

    def change(row):
        content = {"rows": [{**ROWS[0], **row}, *ROWS[1:]]}
        path.write_text(json.dumps(content))
        return path

    change({})
    return path, change


@pytest.mark.parametrize("options", [["--against", "lax"], ["--report-only"]], ids=" ".join)
def test_what_is_no_file_of_results(options, capsys, tmp_path):
    path = tmp_path / "out.json"
    for content in (b"\xff\xfe", b"[" * 100_000, b'{"rows": [1]}'):
        path.write_bytes(content)
        assert f"{path} has no results of a benchmark in it" in refused(capsys, "bench", "--out", path, *options)
        assert path.read_bytes() == content
    said = "cannot be read: Is a directory" if "--report-only" in options else "is a folder"
    assert f"{tmp_path} {said}" in refused(capsys, "bench", "--out", tmp_path, *options)


@pytest.mark.parametrize(
    "row",
    [
        {"backends": {"lax": "fast"}},
        {"backends": ["lax"]},
        {"backends": {"lax": {"median": 1.0}}},
        {"backends": {"lax": {"median": 0.0, "quartiles": [0.0, 0.0], "samples": 1}}},
        {"backends": {"lax": {"median": 1.0, "quartiles": [1.0], "samples": 1}}},
        {"backends": {"lax": {"median": "1", "quartiles": [1.0, 1.0], "samples": 1}}},
        {"backends": {"lax": {"workspace": "much"}}},
        {"macs": None},
        {"matmul": float("nan")},
        {"elementwise": float("nan")},
        {"layer": {}},
        {"direction": 1},
    ],
    ids=str,
)
def test_rows_that_no_report_can_be_made_of(row, results, capsys):
    path, change = results
    change(row)
    said = f"{path} has a row in it that `jaxconv bench` did not make: {{'suite': 's', "
    assert said in refused(capsys, "bench", "--report-only", "--out", path)


@pytest.mark.parametrize("name", ["gpu", "models", "scaling", "ahead_of_time", "loops"])
def test_files_of_other_benchmarks(name, capsys):
    path = BENCHMARKS / f"{name}.json"
    assert f"{path} has " in refused(capsys, "bench", "--report-only", "--out", path)


@pytest.mark.parametrize(
    "option, place, said",
    [
        ("--out", "taken/out.json", "nothing can be written in {}/taken: Not a directory"),
        ("--markdown", "", "{} is a folder"),
        ("--markdown", "taken/new/report.md", "nothing can be written in {}/taken: Not a directory"),
        ("--charts", "taken", "nothing can be written in {}/taken: Not a directory"),
        ("--charts", "taken/charts", "nothing can be written in {}/taken: Not a directory"),
    ],
)
def test_where_nothing_can_be_written(option, place, said, capsys, tmp_path):
    """Before minutes of measuring, and nothing is left behind."""
    (tmp_path / "taken").write_text("this")
    said = f"jaxconv bench: {option}: {said.format(tmp_path)}\n"
    assert refused(capsys, "bench", "--out", tmp_path / "new" / "out.json", option, tmp_path / place) == said
    assert [*tmp_path.iterdir()] == [tmp_path / "taken"] and (tmp_path / "taken").read_text() == "this"


def test_folders_that_one_may_not_write_in(monkeypatch, capsys, tmp_path):
    """Whoever runs the tests: root may write anywhere."""

    def forbidden(dir):
        assert dir == tmp_path
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{dir}/x")

    monkeypatch.setattr(tempfile, "TemporaryFile", forbidden)
    said = f"nothing can be written in {tmp_path}: Permission denied"
    for option, place in (("--out", "out.json"), ("--markdown", "new/report.md"), ("--charts", "new/charts")):
        out = [] if option == "--out" else ["--report-only"]
        assert f"{option}: {said}" in refused(capsys, "bench", *out, option, tmp_path / place)


def test_a_report_overwrites_what_may_be_written_to(monkeypatch, capsys, results):
    """A device, too, whatever the folder allows."""
    path = results[0]
    report = path.with_name("report.md")
    report.write_text("old")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: pytest.fail("the folder is tried"))
    arguments = ["bench", "--report-only", "--out", path, "--markdown"]
    check_file("--markdown", Path(os.devnull), in_place=True)
    assert run(capsys, *arguments, report)[0] == 0 and report.read_text().startswith("# Benchmark")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert f"--markdown: {report} cannot be written to" in refused(capsys, *arguments, report)


def test_what_can_be_written_is_let_be(tmp_path, capsys, results, monkeypatch):
    """Nothing is left where nothing came of it, and one chart is one."""
    measured = []
    monkeypatch.setattr("jaxconv._bench.run.measure_all", lambda jobs, *_: measured.extend(jobs))
    new = ["--out", tmp_path / "a" / "out.json", "--charts", tmp_path / "b", "--markdown", tmp_path / "c" / "report.md"]
    arguments = ["bench", "--layer", "notebook", "--direction", "forward", "--against", "lax", *new]
    code, out, err = run(capsys, *arguments)
    assert len(measured) == 1 and out.startswith("1 job, lax, ")
    assert code == 2 and "nothing in" in err and [*tmp_path.iterdir()] == [results[0]]
    arguments = ["bench", "--report-only", "--out", results[0], "--direction", "forward", "--charts", tmp_path / "b"]
    assert f"\n1 chart in {tmp_path / 'b'}\n" in run(capsys, *arguments)[1]


@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing"])
def test_a_link_stays_one(there, tmp_path):
    """To what is there and to what is not there yet: it is written, and what it is found by stays."""
    path, link = tmp_path / "elsewhere" / "out.json", tmp_path / "link.json"
    if there:
        write_atomically(path, "old")
    link.symlink_to(path.relative_to(tmp_path))
    check_file("--out", link)
    write_atomically(link, "new")
    assert link.is_symlink() and path.read_text() == "new" and [*path.parent.iterdir()] == [path]
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("no folder")
    with pytest.raises(UsageError, match=f"--out: nothing can be written in {path.parent}: Not a directory"):
        check_file("--out", link)


def test_conditions_may_be_anything(capsys, tmp_path):
    path, report = tmp_path / "out.json", tmp_path / "report.md"
    Results(path, {"environment": "none", "settings": {"rounds": 3}}, ROWS).write()
    assert run(capsys, "bench", "--report-only", "--out", path, "--markdown", report)[0] == 0
    assert "Measured with environment none, rounds 3." in report.read_text()


def test_it_is_measured_as_long_as_is_said(tmp_path, capsys, monkeypatch):
    told = []
    monkeypatch.setattr("jaxconv._bench.run.measure_all", lambda jobs, names, rows, settings, *_: told.append(settings))
    arguments = ["bench", "--layer", "notebook", "--direction", "forward", "--against", "lax"]
    run(capsys, *arguments, "--out", tmp_path / "new.json", "--rounds", "2", "--seconds", "0.5", "--limit", "3")
    assert told == [(2, 0.5, 3.0)]
