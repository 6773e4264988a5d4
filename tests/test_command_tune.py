"""`python -m jaxconv tune`: what is measured is kept at once, added to what is there, and found by other commands."""

import errno
import json
import os
import re
from pathlib import Path

import pytest
from commands import OTHER, TEXT, in_training, plan_of, refused, run

import jaxconv
from jaxconv import _autotune
from jaxconv._command.language import read
from jaxconv._default_plan import default_plan_path
from jaxconv._machine import conditions
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned


@pytest.fixture
def measured(monkeypatch):
    """What was measured, by a clock that is right at once."""
    geometries = []

    def tune(geometry, settings, *_):
        geometries.append((geometry, settings))
        return Tuned("kn2row", {"xla": 3e-3, "kn2row": 2e-3}, {"xla": 0.5, "kn2row": 0.5})

    monkeypatch.setattr(_autotune, "tune", tune)
    return geometries


def test_tune_measures(capsys, tmp_path):
    """The plan has every convolution of a training step, and it is used there."""
    path = tmp_path / "new" / "plan.json"
    code, out, err = run(capsys, "tune", TEXT, "--out", path, "--json")
    content = json.loads(out)
    assert (code, err) == (0, "") and (content["measured"], content["before"]) == (3, 0)
    plan = Plan.load(path)
    assert {read(row["problem"]) for row in content["convolutions"]} == {*plan.convolutions}
    assert {*plan.convolutions} == {*in_training(TEXT).values()} and plan.conditions == conditions()
    for row in content["convolutions"]:
        tuned = plan.convolutions[read(row["problem"])]
        assert row["algorithm"] == tuned.algorithm == min(tuned.seconds, key=tuned.seconds.__getitem__)
        assert row["seconds"] == tuned.seconds and {"xla", "im2col"} <= set(tuned.seconds)


def test_tune_says_what_was_won(measured, capsys, tmp_path):
    """A layer that the network has twice is there once, and counts twice."""
    path = tmp_path / "plan.json"
    code, out, err = run(capsys, "tune", TEXT, "resnet50/layer1.1", "--direction", "forward", "--out", path)
    assert (code, err) == (0, "") and "\x1b" not in out
    for line in ("forward │ 2x8x8 4->4 3x3", "forward of layer1.1 conv1 1x1 256->64 56 │ 8x56x56 256->64 1x1"):
        assert re.search(rf"│ {line} │ kn2row │ 2.00 │ 3.00 │ 1.50 │", re.sub(" +│ +", " │ ", out))
    assert re.search(r"│ all +│ +│ +│ 6.00 │ +9.00 │ +1.50 │", out)
    assert [geometry.batch for geometry, _ in measured] == [8, 2]  # what takes longest first
    assert out.endswith(f"{path}: 2 measured now, 0 there before, 2 convolutions in all\n")


def test_tune_adds_to_what_is_there(measured, capsys, tmp_path):
    path = tmp_path / "plan.json"
    old = plan_of(TEXT)
    old.save(path)
    code, out, _ = run(capsys, "tune", TEXT, OTHER, "--direction", "forward", "--out", path, "--json")
    content, plan = json.loads(out), Plan.load(path)
    assert [geometry for geometry, _ in measured] == [read(OTHER)] and (content["measured"], content["before"]) == (
        1,
        1,
    )
    assert [row["algorithm"] for row in content["convolutions"]] == ["im2col", "kn2row"]
    assert plan.convolutions == {**old.convolutions, read(OTHER): plan.convolutions[read(OTHER)]}
    run(capsys, "tune", TEXT, "--direction", "forward", "--out", path, "--again")
    assert measured[-1][0] == read(TEXT) and Plan.load(path).algorithm(read(TEXT)) == "kn2row"
    assert len(Plan.load(path).convolutions) == 2


def test_tune_measures_each_convolution_once(measured, capsys, tmp_path):
    run(capsys, "tune", TEXT, f"{TEXT} stride=1", "--direction", "all", "--out", tmp_path / "plan.json")
    assert len(measured) == 3


def test_tune_goes_by_what_it_is_told(measured, capsys, tmp_path):
    path = tmp_path / "plan.json"
    options = ["--accuracy", "fast", "--max-workspace-bytes", "1000"]
    run(capsys, "tune", TEXT, "--direction", "weight-grad", "--out", path, *options)
    [(geometry, settings)] = measured
    assert geometry == in_training(TEXT)["weight gradient"]
    assert (settings.accuracy, settings.max_workspace_bytes) == ("fast", 1000)
    plan = Plan.load(path)
    assert (plan.accuracy, plan.max_workspace_bytes) == ("fast", 1000)


@pytest.mark.parametrize(
    "text, said, options",
    [
        (json.dumps(plan_of(TEXT, jax="0.1").to_json()), "made under different conditions: jax '0.1', not", []),
        (
            json.dumps({**plan_of(TEXT).to_json(), "accuracy": "fast"}),
            "conditions: accuracy 'fast', not 'strict'",
            ["--accuracy", "strict"],
        ),
        ("{", "has no plan in it", []),
    ],
    ids=["another jax", "another accuracy", "damaged"],
)
def test_tune_leaves_other_files_alone(text, said, options, measured, capsys, tmp_path):
    """And says so before it has measured anything."""
    path = tmp_path / "plan.json"
    path.write_text(text)
    err = refused(capsys, "tune", TEXT, "--out", path, *options)
    assert f"{path} cannot be added to, choose another --out: " in err and said in err
    assert path.read_text() == text and not measured


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="of a folder in which nobody can make a file")
def test_tune_does_not_wait_for_a_lock_that_cannot_be(measured, monkeypatch, capsys):
    pytest.importorskip("filelock")
    monkeypatch.setattr("filelock.FileLock", lambda path: pytest.fail(f"waits for {path} for ever"))
    said = "jaxconv tune: /proc/plan.json cannot be added to, choose another --out: [Errno"
    assert refused(capsys, "tune", TEXT, "--out", "/proc/plan.json").startswith(said) and not measured


def test_tune_interrupted(measured, monkeypatch, capsys, tmp_path):
    """What was measured stays, and the same command goes on."""
    path, tune = tmp_path / "plan.json", _autotune.tune

    def interrupted(geometry, settings, *_):
        if len(measured) == 2:
            raise KeyboardInterrupt
        return tune(geometry, settings)

    monkeypatch.setattr(_autotune, "tune", interrupted)
    code, out, err = run(capsys, "tune", TEXT, "--out", path)
    assert code == 130 and len(Plan.load(path).convolutions) == 2 and "2 measured now" in out
    assert err.startswith("jaxconv tune: interrupted, 1 of 3 convolutions are left to the cost model; the same command")
    monkeypatch.setattr(_autotune, "tune", tune)
    code, out, err = run(capsys, "tune", TEXT, "--out", path)
    assert (code, err) == (0, "") and "1 measured now, 2 there before, 3 convolutions in all" in out


def test_what_an_empty_plan_was_to_be_for_does_not_matter(measured, capsys, tmp_path):
    path = tmp_path / "plan.json"
    run(capsys, "tune", TEXT, "--seconds", "0", "--accuracy", "fast", "--out", path)
    code, _, err = run(capsys, "tune", TEXT, "--accuracy", "strict", "--out", path)
    assert (code, err) == (0, "") and Plan.load(path).accuracy == "strict"


def test_tune_keeps_each_as_soon_as_it_is_measured(measured, monkeypatch, capsys, tmp_path):
    path, tune, there = tmp_path / "plan.json", _autotune.tune, []

    def counted(geometry, *more):
        there.append(len(Plan.load(path).convolutions))
        return tune(geometry, *more)

    monkeypatch.setattr(_autotune, "tune", counted)
    run(capsys, "tune", TEXT, "--out", path)
    assert there == [0, 1, 2]


def test_tune_says_where_nothing_can_be_kept_any_longer(measured, monkeypatch, capsys, tmp_path):
    def full(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    path, tune = tmp_path / "plan.json", _autotune.tune

    def last(geometry, *more):
        if measured:
            monkeypatch.setattr(Plan, "save", full)
        return tune(geometry, *more)

    monkeypatch.setattr(_autotune, "tune", last)
    err = refused(capsys, "tune", TEXT, "--out", path)
    assert f"{path} can be added to no longer: [Errno 28] No space left on device; it has what was" in err
    assert len(Plan.load(path).convolutions) == 1


@pytest.mark.parametrize("name", ["poetry.json", "poetry.lock"])
def test_tune_leaves_files_with_the_names_of_locks_alone(name, measured, capsys, tmp_path):
    other = tmp_path / "poetry.lock"
    plan_of(OTHER).save(other)
    text = other.read_text()
    assert run(capsys, "tune", TEXT, "--out", tmp_path / name)[0] == 0
    assert name == other.name or other.read_text() == text
    assert read(OTHER) in Plan.load(other).convolutions


def test_tune_ends_when_its_time_is_over(measured, capsys, tmp_path):
    path = tmp_path / "plan.json"
    code, out, err = run(capsys, "tune", TEXT, "--seconds", "0", "--out", path)
    assert (code, measured) == (0, []) and err.startswith("jaxconv tune: 0 seconds are over, 3 of 3 convolutions are")
    assert out == f"{path}: 0 measured now, 0 there before, 0 convolutions in all\n"


def test_tune_says_what_there_is_nothing_to_measure_of(measured, capsys, tmp_path):
    path, empty = tmp_path / "plan.json", "conv 0x9x8x4 3x3x4x6"
    code, out, err = run(capsys, "tune", empty, TEXT, "--direction", "forward", "--out", path)
    assert (code, err) == (0, f"jaxconv tune: {empty} is empty, there is nothing to measure\n")
    assert out.endswith("1 measured now, 0 there before, 1 convolution in all\n")


def test_the_default_plan(measured, capsys, tmp_path, monkeypatch):
    """What tune keeps there is what explain, env and the library find."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "no such plan: " in refused(capsys, "explain", TEXT, "--default")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", os.devnull)
        path = default_plan_path()
        assert refused(capsys, "tune", TEXT, "--default").startswith(f"jaxconv tune: {path} cannot be added to: [Errno")
    code, out, _ = run(capsys, "tune", TEXT, "--default", "--direction", "forward")
    assert code == 0 and out.endswith(": 1 measured now, 0 there before, 1 convolution in all\n")
    assert json.loads(run(capsys, "env", "--json")[1])["plan"].startswith("1 convolution in plan-")
    assert run(capsys, "tune", TEXT, "--default")[0] == 0
    assert {*jaxconv.load_default_plan().convolutions} == {*in_training(TEXT).values()}
    rows = json.loads(run(capsys, "explain", TEXT, "--default", "--json")[1])
    assert {(row["algorithm"], row["why"]) for row in rows} == {("kn2row", "plan")}
    assert json.loads(run(capsys, "env", "--json")[1])["plan"].startswith("3 convolutions in plan-")
