"""`python -m benchmarks.gpu` adds to a file what was measured under the same conditions, and to no other."""

import json

import pytest

from benchmarks.gpu import __main__ as gpu
from jaxconv._bench.results import load
from jaxconv._machine import conditions

ASKED = ["--suite", "kinds", "--layer", "ResNeXt"]


@pytest.fixture
def seconds(monkeypatch):
    """What each convolution takes, and how many were measured."""
    found = {"xla": 2.0, "im2col": 1.0}
    monkeypatch.setattr(gpu, "begun", lambda *_: {})
    monkeypatch.setattr(gpu, "measured", lambda geometry, *_: {"seconds": dict(found)})
    return found


def measure(path, direction, *options):
    gpu.main([str(path), *ASKED, "--direction", direction, *options])
    return {(row["direction"], row["dtype"]): row["seconds"]["xla"] for row in load(path).rows.values()}


def test_it_adds_to_what_is_there(seconds, tmp_path):
    path = tmp_path / "new" / "gpu.json"
    first = {("forward", "float32"): 2.0, ("forward", "bfloat16"): 2.0}
    assert measure(path, "forward") == first
    seconds["xla"] = 3.0
    assert measure(path, "input-grad") == {**first, ("input-grad", "float32"): 3.0, ("input-grad", "bfloat16"): 3.0}
    assert measure(path, "forward") == dict.fromkeys(measure(path, "input-grad"), 3.0)  # again: in place of the old
    assert json.loads(path.read_text())["conditions"] == conditions()


@pytest.mark.parametrize(
    "content, said",
    [
        ({"conditions": {**conditions(), "device": "H200"}, "rows": []}, "device is {!r}, there it is 'H200'"),
        ({"conditions": {**conditions(), "driver": "580"}, "rows": []}, "driver is None, there it is '580'"),
        ([], "has no results of a benchmark in it"),
    ],
    ids=["another device", "something else known", "another file"],
)
def test_it_leaves_other_files_alone(content, said, seconds, tmp_path, monkeypatch, capsys):
    path = tmp_path / "gpu.json"
    path.write_text(before := json.dumps(content))
    with monkeypatch.context() as patched:
        patched.setattr(gpu, "measured", lambda *_: pytest.fail("measured"))
        with pytest.raises(SystemExit) as stopped:
            measure(path, "forward")
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said.format(conditions()["device"]) in error and path.read_text() == before
    assert "Choose another file, or --fresh" in error or "there it is" not in error
    assert len(measure(path, "forward", "--fresh")) == 2 and load(path).header == {"conditions": conditions()}
