"""What a shard computes block by block; where a part of that is wrong, the checks find it."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from jax.sharding import PartitionSpec as P
from shards import IN_ONE, IN_PIECES, mesh_of, of_the_other_side, on_shards

from jaxconv._sharding import blocks, halo, shard, surroundings
from jaxconv._sharding.windows import Window
from jaxconv.testing import Problem, disagreement

# Problems that need each part of what a shard does: 1-D, of one channel, over three devices.
UNEVEN = {
    "halo": (Problem((1, 1, 9), (1, 1, 3), (1,), "SAME", dtype="float64"), "p0"),
    "halo wider than a shard": (Problem((1, 1, 9), (1, 1, 9), (1,), "SAME", dtype="float64"), "p0"),
    "windows that drift": (Problem((1, 1, 10), (1, 1, 4), (1,), "VALID", dtype="float64"), "p0"),
    "stride": (Problem((1, 1, 11), (1, 1, 3), (2,), "SAME", dtype="float64"), "p0"),
    "phases": (Problem((1, 1, 5), (1, 1, 3), (1,), ((1, 2),), (3,), dtype="float64"), "p0"),
    "stride and phases": (Problem((1, 1, 9), (1, 1, 3), (2,), ((1, 3),), (3,), dtype="float64"), "p0"),
    "taps": (Problem((1, 1, 11), (1, 1, 10), (1,), "VALID", dtype="float64"), "t0"),
    "taps and phases": (Problem((1, 1, 5), (1, 1, 10), (1,), ((0, 0),), (3,), dtype="float64"), "t0"),
    "channels": (Problem((1, 4, 3), (1, 4, 1), (1,), "SAME", dtype="float64"), "c"),
    "many taps": (Problem((1, 1, 15), (1, 1, 13), (1,), "VALID", dtype="float64"), "t0"),
    "groups": (Problem((1, 5, 1), (5, 1, 1), (1,), "SAME", feature_group_count=5, dtype="float64"), "g"),
    "batch groups": (Problem((5, 1, 1), (5, 1, 1), (1,), "SAME", batch_group_count=5, dtype="float64"), "g"),
    "many channels": (Problem((1, 13, 4), (1, 13, 1), (1,), "SAME", dtype="float64"), "c"),
}


@pytest.mark.parametrize("kind", UNEVEN)
def test_each_part_of_what_a_shard_does(kind):
    problem, factor = UNEVEN[kind]
    for max_bytes in (IN_PIECES, IN_ONE):
        assert not disagreement(on_shards(mesh_of((3,)), {factor: ("x",)}, max_bytes), problem, checks=["value"])


def in_blocks_of(count):
    """The same with blocks of so many positions, taps, images, and channels."""

    def convolve(lhs, rhs, out, alongs, max_bytes):
        lengths = [min(count, along.part.share) if along.rhs is None else along.length for along in alongs]
        return [along._replace(length=length) for along, length in zip(alongs, lengths, strict=True)], 0

    return convolve


@pytest.fixture
def no_pieces(monkeypatch):
    monkeypatch.setattr(shard, "regular_windows", lambda alongs: [])


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("kind", UNEVEN)
def test_blocks_of_every_size(monkeypatch, no_pieces, kind, count):
    """Those of 2 and 3 do not come out even; the last ones overlap with those before."""
    problem, factor = UNEVEN[kind]
    monkeypatch.setattr(shard, "small_enough", in_blocks_of(count))
    assert not disagreement(on_shards(mesh_of((3,)), {factor: ("x",)}, 0), problem, checks=["value"])


def first_part(x, where):
    """As `cut`, from what is the first part at every turn."""
    return lax.slice(x, [0] * x.ndim, [where[axis][1] if axis in where else size for axis, size in enumerate(x.shape)])


def of_the_first(table, shard, turn):
    return int(table.flat[0])


def of_the_next(sent, names, hops, mesh):
    return halo.passed_on(sent, names, hops // abs(hops), mesh)


def taps_at_the_front(taps, along, shard, turn, start):
    return jnp.pad(taps, ((0, 0), (0, 0), (0, along.blocks.computed - taps.shape[2])))


def taps_again(taps, along, shard, turn, start):
    return blocks._zeros_from(taps, along.other, along.part.total - shard * along.part.share - start)


def the_first_sum(shape, read, body, carry):
    return body((0,) * len(shape), read((0,) * len(shape)), carry)


# kind, positions of a block, and what is wrong
WRONG = [
    ("channels", 9, blocks, "_zeros_from", lambda x, *_: x),
    ("taps", 9, blocks, "_zeros_from", lambda x, *_: x),
    ("groups", 9, blocks, "_zeros_from", lambda x, *_: x),
    ("stride and phases", 9, blocks, "cut", first_part),
    ("taps and phases", 9, blocks, "_real_taps", taps_at_the_front),
    ("windows that drift", 9, blocks, "_of", of_the_first),
    ("windows that drift", 9, blocks, "shard_index", lambda *_: 0),
    ("halo", 9, surroundings, "passed_on", of_the_other_side),
    ("halo wider than a shard", 9, surroundings, "passed_on", of_the_next),
    ("many taps", 2, blocks, "_real_taps", taps_again),
    ("many channels", 2, blocks, "for_each_block", the_first_sum),
    ("stride", 1, blocks, "for_each_block", the_first_sum),
    ("phases", 2, blocks, "update", lambda out, value, starts: out),
    ("stride and phases", 2, Window, "rows_until", lambda part, place: (place - part.low) // part.dilation),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "count", "where", "name", "wrong"), WRONG)
def test_the_checks_find_what_is_wrong(monkeypatch, no_pieces, kind, count, where, name, wrong):
    problem, factor = UNEVEN[kind]
    monkeypatch.setattr(shard, "small_enough", in_blocks_of(count))
    monkeypatch.setattr(where, name, wrong)
    assert disagreement(on_shards(mesh_of((3,)), {factor: ("x",)}, 0), problem, checks=["value"])


@given(st.data())
def test_blocks_that_are_read(data):
    """Anywhere in what there is along two axes of one shard, or beyond, whether the place is known or not."""
    shape, low, high, rows, first = (
        data.draw(st.tuples(*(st.integers(*span),) * 2)) for span in ((1, 6), (0, 9), (0, 9), (0, 8), (-14, 20))
    )
    whole = np.arange(1, prod(shape) + 1).reshape(shape)
    mesh = mesh_of((1, 1))
    sides = [surroundings.Side(axis, low[axis], high[axis], (name,)) for axis, name in enumerate(mesh.axis_names)]
    margins = [
        (max(-low[axis] - first[axis], 0), max(first[axis] + rows[axis] - shape[axis] - high[axis], 0))
        for axis in (0, 1)
    ]
    extended = np.pad(whole, 30)  # one shard has no neighbours: what it receives are zeros
    expected = extended[tuple(slice(30 + start, 30 + start + count) for start, count in zip(first, rows, strict=True))]

    def read(x, first):
        here = surroundings.surroundings(x, sides, dict(mesh.shape))
        return surroundings.read(here, first, rows, margins)

    for places in (first, [jnp.int32(place) for place in first]):
        f = jax.shard_map(
            lambda x, places=places: read(x, places), mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False
        )
        np.testing.assert_array_equal(jax.jit(f)(whole), expected)  # not one program for each operation
