"""Shards in pieces, where windows are at the same place in all of them; where a piece is wrong, the checks find it."""

import pytest
from shards import IN_PIECES, mesh_of, of_the_other_side, on_shards

from jaxconv._sharding import shard, surroundings
from jaxconv._sharding.pieces import Regular
from jaxconv.testing import Problem, disagreement

# Problems whose windows are at the same place in all shards: shapes, mesh, factors.
REGULAR = {
    "rows": (Problem((1, 1, 12), (1, 1, 3), (1,), "SAME", dtype="float64"), (3,), {"p0": ("x",)}),
    "rows and columns": (
        Problem((1, 1, 8, 12), (1, 1, 3, 4), (1, 1), "SAME", dtype="float64"), (2, 3), {"p0": ("x",), "p1": ("y",)},
    ),
    "a volume": (
        Problem((1, 1, 8, 8, 8), (1, 1, 3, 3, 3), (1, 1, 1), "SAME", dtype="float64"), (2, 2, 2),
        {"p0": ("x",), "p1": ("y",), "p2": ("z",)},
    ),
    "stride and dilation": (
        Problem((1, 1, 24), (1, 1, 3), (2,), ((2, 2),), rhs_dilation=(2,), dtype="float64"), (3,), {"p0": ("x",)},
    ),
    "dilated lhs": (Problem((1, 1, 12), (1, 1, 4), (1,), ((2, 2),), (2,), dtype="float64"), (3,), {"p0": ("x",)}),
    "cropped": (Problem((1, 1, 12), (1, 1, 3), (1,), ((-1, 3),), dtype="float64"), (3,), {"p0": ("x",)}),
    "taps": (Problem((1, 1, 12), (1, 1, 12), (1,), ((1, 1),), dtype="float64"), (3,), {"t0": ("x",)}),
    "taps of rows and columns": (
        Problem((1, 1, 8, 12), (1, 1, 8, 12), (1, 1), ((1, 1), (2, 1)), dtype="float64"), (2, 3),
        {"t0": ("x",), "t1": ("y",)},
    ),
    "taps, stride": (
        Problem((1, 1, 12), (1, 1, 6), (1,), ((1, 1),), rhs_dilation=(2,), dtype="float64"), (3,), {"t0": ("x",)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REGULAR)
def test_a_shard_in_pieces(monkeypatch, kind):
    """It is, and not in blocks; its results are not other ones."""
    problem, sizes, axes = REGULAR[kind]
    monkeypatch.setattr(shard, "in_blocks", None)
    assert not disagreement(on_shards(mesh_of(sizes), axes, IN_PIECES), problem, checks=["value"])


WRONG_PIECES = [
    ("rows", Regular, "edges", property(lambda window: [])),
    ("taps", Regular, "neighbours_rows", property(lambda window: [])),
    ("rows and columns", surroundings, "passed_on", of_the_other_side),
    ("taps of rows and columns", surroundings, "passed_on", of_the_other_side),
    ("stride and dilation", Regular, "inner", property(lambda window: (0, window.part.share))),
    ("dilated lhs", Regular, "padding_of", lambda window, piece: window.along.blocks.padding),
]


@pytest.mark.parametrize(("kind", "where", "name", "wrong"), WRONG_PIECES)
def test_the_checks_find_what_is_wrong_in_pieces(monkeypatch, kind, where, name, wrong):
    problem, sizes, axes = REGULAR[kind]
    monkeypatch.setattr(where, name, wrong)
    assert disagreement(on_shards(mesh_of(sizes), axes, IN_PIECES), problem, checks=["value"])
