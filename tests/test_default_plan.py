"""The default plan: where it is, that nothing is lost of it when many save at once, and that it may be missing."""

import subprocess
import sys
import threading
import warnings

import pytest
from filelock import FileLock
from plans import LHS, RHS, plan_of

import jaxconv
from jaxconv import _default_plan
from jaxconv._plan import Plan
from jaxconv._plan_file import PlanError
from jaxconv._settings import current


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_plan_with_nothing_in_it_changes_nothing(tmp_path, cache):
    path = tmp_path / "plan.json"
    plan_of("im2col").save(path)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with jaxconv.policy(accuracy="strict", max_workspace_bytes=1000):
        before = current()
        for load in (jaxconv.load_default_plan, lambda: Plan.load(path)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                plan = load()
            with plan:
                assert current()._replace(plan=None) == before
    assert (plan | plan_of("im2col", accuracy="fast")).accuracy == "fast"


def test_the_default_plan(cache):
    assert not jaxconv.load_default_plan().convolutions
    path = jaxconv.save_default_plan(plan_of("im2col"))
    jaxconv.save_default_plan(plan_of("kn2row", LHS[:1], RHS))
    assert path.is_relative_to(cache) and len(jaxconv.load_default_plan().convolutions) == 2
    path.write_text("{")
    for use in (jaxconv.load_default_plan, lambda: jaxconv.save_default_plan(plan_of("im2col"))):
        with pytest.raises(PlanError, match=str(path)):
            use()
    assert path.read_text() == "{"


def test_a_file_of_another_version_is_left_as_it_is(cache):
    path = jaxconv.save_default_plan(plan_of("im2col"))
    path.write_text(text := path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(PlanError, match="its format is version 2, this is 1"):
        jaxconv.save_default_plan(plan_of("kn2row"))
    assert path.read_text() == text


SAVES = """
import sys, jax.numpy as jnp, jaxconv
from jaxconv._parameters import geometry_of
from jaxconv._machine import conditions
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned
for size in range(3, 13):
    g = geometry_of(jnp.ones((int(sys.argv[1]), 3, size, size)), jnp.ones((4, 3, 3, 3)), (1, 1), "SAME")
    jaxconv.save_default_plan(Plan(conditions(), {g: Tuned("im2col", {}, {})}))
"""


def test_processes_that_save_at_once_lose_nothing(cache):
    workers = [subprocess.Popen([sys.executable, "-c", SAVES, str(i)]) for i in (1, 2, 3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert len(jaxconv.load_default_plan().convolutions) == 30


def test_whoever_saves_waits_for_the_lock(cache):
    path = jaxconv.save_default_plan(plan_of("im2col"))
    other = threading.Thread(target=jaxconv.save_default_plan, args=(plan_of("kn2row", LHS[:1], RHS),))
    with FileLock(path.with_name(f".{path.name}.lock")):
        other.start()
        other.join(1.0)
        assert other.is_alive() and len(jaxconv.load_default_plan().convolutions) == 1
    other.join()
    assert len(jaxconv.load_default_plan().convolutions) == 2


def test_without_the_tools_the_default_plan_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(ImportError, match=r"needs platformdirs: pip install 'jaxconv\[tools\]'"):
        _default_plan.default_plan_path()


def test_each_format_has_a_default_file_of_its_own(cache, monkeypatch):
    before = _default_plan.default_plan_path()
    monkeypatch.setattr(_default_plan, "SCHEMA", 2)
    assert _default_plan.default_plan_path() != before
