"""Files of plans keep everything; what is damaged, hostile or of another version is refused and left as it is."""

import copy
import json
import pickle
import tempfile
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of
from plans import tuned as tuned

from jaxconv import _geometry_json
from jaxconv._parameters import geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import PlanError
from jaxconv.testing import DTYPES, problems


def test_files_keep_everything(tmp_path, tuned):
    path = tmp_path / "folder" / "plan.json"
    tuned.save(path)
    assert Plan.load(path) == tuned and hash(Plan.load(path)) == hash(tuned)
    assert list(path.parent.iterdir()) == [path]
    assert (tuned | tuned) == tuned


@pytest.mark.parametrize("way", [pickle.dumps, copy.deepcopy])
def test_copies_are_equal(tuned, way):
    copied = way(tuned)
    assert (pickle.loads(copied) if isinstance(copied, bytes) else copied) == tuned


@given(problems(dtypes=(*DTYPES, "float8_e4m3fn", "float8_e5m2"), empty=False))
def test_every_geometry_goes_through_a_file(problem):
    geometry = geometry_of(*problem.operands(), **problem.arguments, precision=("high", "highest"))
    assert _geometry_json.from_json(json.loads(json.dumps(_geometry_json.to_json(geometry)))) == geometry


def test_another_schema_is_refused_with_a_warning(tmp_path):
    path = tmp_path / "plan.json"
    plan_of("im2col").save(path)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.warns(UserWarning, match="its format is version 2, this is 1"):
        assert not Plan.load(path).convolutions


def test_of_another_jaxconv_that_has_other_algorithms(tmp_path):
    path = tmp_path / "plan.json"
    plan = plan_of("im2col")
    replace(plan, conditions={**plan.conditions, "jaxconv": "9.9"}).save(path)
    path.write_text(text := path.read_text().replace("im2col", "winograd6"))
    with pytest.warns(UserWarning, match=r"made by jaxconv 9.9, this is \S*, which says: algorithm must be one of"):
        assert not Plan.load(path).convolutions
    assert path.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"plan"',
        '{"schema": 1}',
        "[" * 100_000,
        '{"schema": true}',
        "\x00",
        '{"schema": NaN}',
    ],
)
def test_a_file_with_no_plan_in_it(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(PlanError, match="has no plan in it"):
        Plan.load(path)
    assert path.read_text() == text


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Plan.load(tmp_path / "none.json")


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-2, 3), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def places(value, place=()):
    """The keys that lead to each value in a plan's JSON, but to all of it."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*place, key)
        yield from places(value[key], (*place, key))


PLACES = [*places(json.loads(json.dumps(plan_of("im2col").to_json())))]


def exchanged(place, value):
    """A plan's JSON with another value there."""
    content = target = json.loads(json.dumps(plan_of("im2col").to_json()))
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return json.dumps(content)


def refused_or_whole(path, text):
    """A clear error, or a plan that saves what it loaded."""
    path.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other versions
        try:
            plan = Plan.load(path)
        except PlanError as error:
            assert "has no plan in it" in str(error)
        else:
            plan.save(path)
            assert Plan.load(path) == plan


@given(st.data())
def test_damaged_files_are_refused_or_whole(data):
    """Any value anywhere exchanged, and any part cut off."""
    text = exchanged(data.draw(st.sampled_from(PLACES)), data.draw(HOSTILE))
    with tempfile.TemporaryDirectory() as folder:
        refused_or_whole(Path(folder) / "plan.json", text[: data.draw(st.sampled_from([len(text), len(text) // 2]))])


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_of_each_kind_of_value_in_each_place(place, tmp_path):
    numbers = -1, 0.5, 10**400, -(10**400), float("inf"), float("nan")
    for value in (None, True, *numbers, "", "float32", [], {}, [{}], [[]]):
        refused_or_whole(tmp_path / "plan.json", exchanged(place, value))


def test_threads_that_save_at_once_leave_whole_files(tmp_path):
    path, failures = tmp_path / "plan.json", []
    plans = [plan_of(name) for name in ("im2col", "kn2row", "slabs")]
    plans[0].save(path)

    def work(plan):
        try:
            for _ in range(100):
                plan.save(path)
                assert Plan.load(path) in plans
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(plan,)) for plan in plans]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures and [*tmp_path.iterdir()] == [path]
