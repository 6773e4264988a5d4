"""Training steps on slices of TPUs: the networks, the model of what is sent against what the program sends, what is
kept and said of programs. The compiler is a stand-in here; `test_tpu.py` has the real one."""

import importlib.util
import json
import sys
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import equations
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AbstractMesh, AxisType, Mesh

from benchmarks.scaling import __main__ as command
from benchmarks.scaling import model, networks, programs, report, run
from benchmarks.scaling.layouts import SLICES, Layout, layouts
from benchmarks.scaling.networks import NETWORKS, Network, parameters, training_step
from benchmarks.scaling.run import CONTESTANTS
from jaxconv._bench.results import load

SMALL = {2: Network(2, 32, (4, 8, 16), 3, 2), 3: Network(3, 16, (2, 4), 1, 3)}
CASES = [
    (SMALL[2], Layout(1, (2, 2))),
    (SMALL[2], Layout(2, (4, 2))),
    (SMALL[2], Layout(4, (1, 1))),
    (SMALL[3], Layout(1, (2, 4))),
    (SMALL[3], Layout(3, (4, 4))),
]


def abstract(layout):
    """A mesh of that many chips, of no kind."""
    return AbstractMesh((layout.data, *layout.space), programs.AXES, axis_types=(AxisType.Auto,) * 3)


def sent(network, layout):
    """What the spatial step sends, read in its jaxpr: (halos, gradients and loss), of the busiest chip."""
    where = abstract(layout)
    shape = dict(where.shape)
    step = programs.step("spatial", network, where)
    by_position = {axis: [0] * size for axis, size in shape.items()}
    summed = 0
    for each in equations(step, *programs.operands(network, layout.data, where)):
        bytes_ = sum(var.aval.size * var.aval.dtype.itemsize for var in each.outvars)
        if each.primitive.name == "ppermute":
            (axis,) = np.atleast_1d(each.params["axis_name"])
            for source, target in each.params["perm"]:
                assert source != target
                by_position[axis][source] += bytes_
        elif each.primitive.name.startswith("psum"):
            assert set(each.params["axes"]) == set(shape)
            summed += bytes_
        else:
            assert not each.primitive.name.startswith(("all_", "reduce_scatter"))
    chips = prod(shape.values())
    return sum(map(max, by_position.values())), 2 * summed * (chips - 1) // chips


@pytest.mark.parametrize("network, layout", CASES, ids=str)
def test_the_model_is_what_the_program_sends(network, layout):
    found = model.cost(network, layout)
    assert (found.halos, found.gradients) == sent(network, layout)


def test_the_model_is_what_the_program_sends_on_1024_chips():
    network = NETWORKS["U-Net 2048x2048"]
    layout = Layout(1, (32, 32))
    found = model.cost(network, layout)
    assert (found.halos, found.gradients) == sent(network, layout)


@pytest.mark.parametrize("network", SMALL.values(), ids=lambda network: f"{network.ndim}-D")
def test_operations_are_those_that_the_program_has(network):
    """Two for each product that is not with a zero of a dilated input."""
    step = training_step(network, lax.conv_general_dilated, jnp.mean)
    flops = 0
    for each in equations(step, *programs.operands(network, 1, abstract(Layout(1, (1, 1))))):
        if each.primitive.name == "conv_general_dilated":
            rhs, out = each.invars[1].aval, each.outvars[0].aval
            taps = rhs.size // rhs.shape[each.params["dimension_numbers"].rhs_spec[0]]
            flops += 2 * out.size * taps / prod(each.params["lhs_dilation"])
    assert model.cost(network, Layout(1, (1, 1))).flops == flops
    assert model.cost(network, Layout(7, (4, 2))).flops == flops / 8


def test_rows_that_cannot_be_shared_out():
    with pytest.raises(ValueError, match="down2a has 16 rows, which 16 chips cannot share evenly"):
        model.cost(SMALL[2], Layout(1, (16, 1)))


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.sampled_from([2, 4]))
def test_halos_are_the_rows_that_windows_reach(kernel, stride, up, low, shards):
    """Row by row, of convolutions whose results share out as their inputs do."""
    own = 4 * stride  # more than any halo
    left, right = model.halo(kernel, stride, up, low)
    before, after = set(), set()
    for result in range(shards * own * up // stride):
        shard = result * stride // (own * up)
        first = stride * result - low
        for row in range(shards * own):
            if first <= row * up < first + kernel:
                before.add(shard * own - row)
                after.add(row + 1 - (shard + 1) * own)
    assert max(0, *before) <= left <= max(0, *before) + (up > 1)  # a window may end between two rows
    assert max(0, *after) <= right <= max(0, *after) + (up > 1)


def test_both_contestants_take_the_same_step(monkeypatch):
    """The one on four devices, the other on one, in float32, where only the order of sums is different."""
    monkeypatch.setattr(networks, "DTYPE", "float32")
    network = Network(2, 16, (2, 4), 1, 2)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype("float32"), parameters(network))
    images = rng.normal(size=(1, 16, 16, 1)).astype("float32")
    labels = rng.integers(0, 2, (1, 16, 16)).astype("int32")

    def after(contestant, devices):
        chips = np.array(jax.devices()[: prod(devices)]).reshape(devices)
        where = Mesh(chips, programs.AXES, axis_types=programs.axis_types(contestant))
        return jax.device_get(programs.step(contestant, network, where)(params, images, labels))

    (first, loss), (second, other) = after("lax", (1, 1, 1)), after("spatial", (1, 2, 2))
    assert abs(loss - other) < 1e-4 * loss
    for old, one, two in zip(*map(jax.tree.leaves, (params, first, second)), strict=True):
        update = np.abs(one - old).max()
        assert update > 0 and np.abs(one - two).max() <= 1e-3 * update + 1e-6 * np.abs(old).max()


@pytest.mark.parametrize("name", SLICES)
def test_layouts_use_the_whole_slice(name):
    chips = prod(map(int, name.split("x")))
    assert all(layout.chips == chips for layout in layouts(name)) and layouts(name)[0].data == 1
    for layout in layouts(name):
        for network in NETWORKS.values():
            model.cost(network, layout)  # which raises where rows cannot be shared out


WHOLE = Layout(1, (4, 4))


def entry(seconds=1e-2, permuted=10**7, loops=0, flops=2 * 10**12, reduced=116_369_294):
    collectives = {
        "all-reduce": {"instructions": 2, "bytes": 10**6, "sent": reduced},
        "collective-permute": {"instructions": 9, "bytes": permuted, "sent": permuted},
    }
    memory = {"arguments": 2**20, "results": 0, "temporaries": 2**21}
    counts = {"seconds": seconds, "flops": flops, "bytes": 10**9, "loops": loops, "compiling": 1.0}
    return {"collectives": collectives, "memory": memory, **counts}


def row(slice_="4x4", layout=WHOLE, **backends):
    return {**run.Program("U-Net 2048x2048", slice_, layout).row(), "backends": backends}


def test_estimates_that_are_not_believed():
    doubted = row(lax=entry(-1.0), accelerate=entry(loops=1), few=entry(flops=10**9), good=entry())
    assert {name: report.doubt(doubted, name) for name in doubted["backends"]} == {
        "lax": "an operation without a price",
        "accelerate": "a loop, whose body is counted once",
        "few": "fewer operations than it must have",
        "good": "",
    }


def test_what_is_said_of_them():
    rows = [
        row("8x8", Layout(16, (2, 2)), lax={"error": "out of hbm"}),
        row(lax=entry(-1.0, permuted=20_110_896), spatial=entry(35e-3, permuted=10_055_448)),
    ]
    programs_, sent_, checked, paper = report.sheets(rows)
    place = ["U-Net 2048x2048", "4x4", "1 x 4x4"]
    assert [cells[:4] for cells in programs_.rows] == [[*place, name] for name in ("lax", "spatial")]
    assert [cells[4:9] for cells in programs_.rows] == [["1", "0", "2", "3", "-"], ["1", "0", "2", "3", "35.0"]]
    failure = "U-Net 2048x2048, 16 x 2x2 by lax: out of hbm"
    assert report.failed(rows) == [failure] and programs_.notes[-1] == f"FAILED: {failure}"
    assert sent_.rows[0][4:] == ["2: 116.37", "9: 20.11", "136.48"]
    assert sent_.notes == ["Permuted bytes of lax: 2.0 to 2.0 times those of spatial."]
    assert checked.rows == [[*place, "spatial", "10.06", "10.06", "116.37", "116.37"]]
    assert max(report.differences(rows, "spatial").values()) < 1e-7
    rows[1]["backends"]["spatial"] = entry(permuted=20_110_896)
    assert report.differences(rows, "spatial")["collective-permute"] == 1.0
    assert {cells[1] for cells in paper.rows} == {"256", "1024"} and "On paper" in paper.notes[0]


def test_what_is_committed():
    """The model is within a thousandth of each program of ours, and XLA's partition sends no less."""
    rows = report.in_order(load(command.OUT).rows.values())
    assert {(one["name"], one["layer"]["slice"]) for one in rows} >= {
        (name, slice_) for name in NETWORKS for slice_ in ("2x2", "4x4", "8x8")
    }
    assert report.failed(rows) == []
    for one in rows:
        found = report.compiled(one)
        assert {"lax", "spatial"} <= set(found)
        permuted = {name: report.sent(each, "collective-permute") for name, each in found.items()}
        assert max(permuted[name] for name in found if name != "lax") <= permuted["lax"]
        assert 1 <= found["spatial"]["flops"] / report.predicted(one, "spatial").flops < 1.5  # not convolutions alone
    assert max(apart for name in report.OURS for apart in report.differences(rows, name).values()) < 1e-3
    text = command.OUT.with_suffix(".md").read_text()
    for sheet in report.sheets(rows):
        assert all(" | ".join(cells) in text for cells in sheet.rows) and all(note in text for note in sheet.notes)


WORKER = """
from jaxconv._bench.worker import serve

def answer(message):
    if message["do"] == "start":
        {START}
        return {"kind": "TPU v5 lite"}
    if message["contestant"] == "lax" and message["data"] == 4:
        raise MemoryError("out of hbm")
    return {ENTRY} | {"bytes": message["space"][0]}

serve(answer)
"""


@pytest.fixture
def compiler(monkeypatch):
    """The stand-in, with what it does when it starts."""

    def pretend(start="pass"):
        code = WORKER.replace("{START}", start).replace("{ENTRY}", repr(entry()))
        monkeypatch.setattr(run, "COMMAND", [sys.executable, "-c", code])

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "libtpu" or real(name))
    pretend()
    return pretend


def test_from_the_command_line(compiler, tmp_path, capsys):
    out, written = tmp_path / "out.json", tmp_path / "report.md"
    options = ["--network", "2048", "--slice", "4x4", "--out", str(out)]
    assert command.main([*options, "--contestant", "spatial", "--markdown", str(written)]) == 0
    content = json.loads(out.read_text())
    assert content["settings"] == {"target": "v5e", "effort": -1.0}
    assert [one["layer"] for one in content["rows"]] == [
        {"slice": "4x4", "data": 1, "space": [4, 4]},
        {"slice": "4x4", "data": 4, "space": [2, 2]},
    ]
    assert [one["backends"]["spatial"]["bytes"] for one in content["rows"]] == [4, 2]
    text = written.read_text()
    assert text.startswith("# Training steps on slices of TPUs") and "Nothing was run" in text and "On paper" in text

    # The other contestants, only those; the same again compiles nothing.
    assert command.main(options) == 1
    rows = json.loads(out.read_text())["rows"]
    assert [set(one["backends"]) for one in rows] == [set(CONTESTANTS)] * 2
    assert rows[1]["backends"]["lax"] == {"error": "MemoryError: out of hbm"}
    before = out.read_bytes()
    compiler("raise RuntimeError")
    capsys.readouterr()
    assert command.main(["--report-only", "--out", str(out)]) == 1 and out.read_bytes() == before
    assert "FAILED: U-Net 2048x2048, 4 x 2x2 by lax: MemoryError: out of hbm" in capsys.readouterr().out


def test_wrong_requests(compiler, monkeypatch, capsys, tmp_path):
    for arguments, words in (
        (["--network", "nothing like it"], "no network has 'nothing like it' in its name"),
        (["--slice", "4x4"], "the compiler does not start: RuntimeError: locked"),
    ):
        compiler('raise RuntimeError("locked")')
        with pytest.raises(SystemExit) as stopped:
            command.main([*arguments, "--out", str(tmp_path / "out.json")])
        assert stopped.value.code == 2 and words in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        command.main(["--out", str(tmp_path / "out.json")])
    assert stopped.value.code == 2 and "pip install 'jaxconv[tpu]'" in capsys.readouterr().err
