"""The demo's own checks hold, and it says so when they do not."""

import io
import subprocess
import sys

import jax
import numpy as np
import pytest
from commands import run
from rich.console import Console

from jaxconv.__main__ import main
from jaxconv._demo import contestant, digits, photograph, race, show
from jaxconv._machine import conditions
from jaxconv._parameters import geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=100)


def printed(console):
    return console.file.getvalue()


def test_photograph(console, tmp_path):
    assert photograph.show(console, tmp_path)
    text = printed(console)
    assert text.count(" yes ") >= 6 and "NO" not in text
    assert (tmp_path / "filters.png").read_bytes().startswith(b"\x89PNG")


def test_photograph_notices_a_wrong_result(console, tmp_path, monkeypatch):
    right, corner = photograph.conv_general_dilated, photograph.photo()[100:160, 100:150]
    monkeypatch.setattr(photograph, "photo", lambda: corner)
    few = {name: photograph.ALGORITHMS[name] for name in ("naive", "im2col", "fft")}
    monkeypatch.setattr(photograph, "ALGORITHMS", few)
    monkeypatch.setattr(photograph, "conv_general_dilated", lambda *args, **kwargs: right(*args, **kwargs) * 1.01)
    assert not photograph.show(console, tmp_path)
    assert printed(console).count(" NO ") == 6 and " yes " not in printed(console)


def test_digits(console, tmp_path):
    with jax.enable_x64(False):
        assert digits.show(console, tmp_path)
    assert "both above 95 %: yes; same losses: yes" in printed(console)


def test_digits_notices_a_difference(console, tmp_path, monkeypatch):
    wrong = {
        **digits.CONVOLUTIONS,
        "im2col": lambda *args, **kwargs: 1.01 * jax.lax.conv_general_dilated(*args, **kwargs),
    }
    monkeypatch.setattr(digits, "CONVOLUTIONS", wrong)
    monkeypatch.setattr(digits, "EPOCHS", 1)
    with jax.enable_x64(False):
        assert not digits.show(console, tmp_path)
    assert "same losses: NO" in printed(console)


def test_contestants_compute_the_same(monkeypatch):
    monkeypatch.setattr(contestant, "IMAGES", (2, 3, 8, 8))
    monkeypatch.setattr(contestant, "KERNEL", (4, 3, 3, 3))
    results = {name: contestant.compete(name) for name in set(race.contestants().values()) - {"torch"}}
    checksums = [result["checksum"] for result in results.values()]
    np.testing.assert_allclose(checksums, checksums[0], rtol=1e-6)
    assert all(len(result["times"]) >= 3 and min(result["times"]) > 0 for result in results.values())


@pytest.mark.parametrize("checksum, held", [(1.0, True), (1.1, False)])
def test_race_compares_the_results(console, tmp_path, monkeypatch, checksum, held):
    def finished(command, **_):
        value = checksum if command[-1] == "im2col" else 1.0
        return subprocess.CompletedProcess(command, 0, stdout=f'{{"times": [0.1, 0.2, 0.3], "checksum": {value}}}')

    monkeypatch.setattr(race.subprocess, "run", finished)
    assert race.show(console, tmp_path) == held
    assert "200 ms" in printed(console)


def test_race_has_what_the_library_itself_would_take(console, tmp_path, monkeypatch):
    """By its name, whatever that is here."""
    started = []

    def finished(command, **_):
        started.append(command[-1])
        return subprocess.CompletedProcess(command, 0, stdout='{"times": [0.1], "checksum": 1.0}')

    monkeypatch.setattr(race.subprocess, "run", finished)
    geometry = geometry_of(
        *(jax.ShapeDtypeStruct(shape, "float32") for shape in (race.IMAGES, race.KERNEL)), (1, 1), "VALID"
    )
    with Plan(conditions(), {geometry: Tuned("kn2row", {}, {})}):
        assert race.show(console, tmp_path)
    assert "jaxconv's own choice: kn2row" in printed(console)
    assert started[:4] == ["lax", "naive", "im2col", "kn2row"]


def test_every_part_is_announced(console, tmp_path, monkeypatch):
    announced = []
    for part in (photograph, race, digits):
        monkeypatch.setattr(
            part, "show", lambda console, out: bool(announced.append(printed(console).splitlines()[-1]))
        )
    assert not show.show(console, tmp_path)
    assert [line.split(":")[0] for line in announced] == ["1 of 3", "2 of 3", "3 of 3"]


@pytest.mark.parametrize("held, code", [((True, True, True), 0), ((True, False, True), 1)])
def test_demo(held, code, capsys, monkeypatch, tmp_path):
    ran = []
    for part, holds in zip((photograph, race, digits), held, strict=True):
        monkeypatch.setattr(part, "show", lambda console, out, holds=holds: (ran.append(out), holds)[1])
    assert run(capsys, "demo", "--out", tmp_path)[0] == code and ran == [tmp_path] * 3


def test_something_is_said_before_the_libraries_are_imported(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jaxconv._demo.show", None)  # which makes importing it fail
    with pytest.raises(ImportError):
        main(["demo"])
    assert "a minute" in capsys.readouterr().out
