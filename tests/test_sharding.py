"""Convolutions of sharded arrays: on any mesh, any axes of lhs and rhs shared out over any of its axes, evenly or not,
values and gradients are those of one device."""

import warnings
from functools import partial
from itertools import product
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxconv
from jaxconv._bench.collectives import traffic
from jaxconv._parameters import geometry_of, to_params
from jaxconv._sharding import along, blocks, factors, halo, pieces, shard, surroundings
from jaxconv._sharding.along import Along
from jaxconv._sharding.pieces import Regular
from jaxconv._sharding.windows import Window, window
from jaxconv.testing import Problem, disagreement, problems

MESHES = ((2,), (3,), (4,), (8,), (2, 2), (2, 3), (3, 2), (4, 2), (2, 2, 2))
IN_PIECES, IN_ONE = 0, 2**30  # if so many bytes may be taken, and where that can be
wholes = problems(dtypes=("float64",), empty=False, preferred_element_type=False)


def mesh_of(sizes, kind=AxisType.Auto):
    devices = np.array(jax.devices()[: prod(sizes)]).reshape(sizes)
    return Mesh(devices, ("x", "y", "z")[: len(sizes)], axis_types=(kind,) * len(sizes))


@st.composite
def specs(draw, mesh, rank):
    """Which mesh axes each axis of an array is split over: some of them, each once, in any order."""
    split = [()] * rank
    for name in draw(st.permutations(mesh.axis_names)):
        axis = draw(st.integers(-1, rank - 1))  # -1: none
        if axis >= 0:
            split[axis] += (name,)
    return P(*(names or None for names in split))


@st.composite
def sharded_problems(draw):
    problem, mesh = draw(wholes), mesh_of(draw(st.sampled_from(MESHES)))
    rank = len(problem.lhs_shape)
    operands = (jax.ShapeDtypeStruct(shape, "float64") for shape in (problem.lhs_shape, problem.rhs_shape))
    # JAX loses the sharding of empty results, and XLA divides by their size: lax's convolution ends the process, too.
    assume(not geometry_of(*operands, **problem.arguments).is_empty)
    return problem, mesh, draw(specs(mesh, rank)), draw(st.just(P()) | specs(mesh, rank)), draw(specs(mesh, rank))


limits = st.sampled_from((0, 2**8, 2**30))  # bytes that may be taken


def by_the_compiler(max_bytes, mesh, lhs_spec, rhs_spec, out_spec):
    """The convolution of arrays that are sharded like that where they come to it and where they leave it."""

    def convolve(lhs, rhs, **arguments):
        def f(lhs, rhs):
            lhs = lax.with_sharding_constraint(lhs, NamedSharding(mesh, lhs_spec))
            rhs = lax.with_sharding_constraint(rhs, NamedSharding(mesh, rhs_spec))
            out = jaxconv.conv_general_dilated(lhs, rhs, **arguments, max_workspace_bytes=max_bytes)
            return lax.with_sharding_constraint(out, NamedSharding(mesh, out_spec))

        # Gathered at last: JAX has no name for how XLA splits 2 elements over an axis of 4 devices.
        return jax.jit(f, out_shardings=NamedSharding(mesh, P()))(lhs, rhs)

    return convolve


@given(sharded_problems(), limits)
def test_the_compiler_shares_it_out(case, max_bytes):
    problem, *where = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what is gathered
        report = disagreement(by_the_compiler(max_bytes, *where), problem, checks=["value", "gradient"])
        assert not report, (report, problem, where)


def by_types(mesh, lhs_spec, rhs_spec, out_spec):
    """The same of arrays whose types say how they are sharded, as far as their sizes come out even."""

    def even(spec, shape):
        split = []
        for names, size in zip(spec, shape, strict=True):
            kept = ()
            for name in names or ():
                kept += (name,) if size % prod(mesh.shape[each] for each in (*kept, name)) == 0 else ()
            split.append(kept or None)
        return P(*split)

    def convolve(lhs, rhs, **arguments):
        shape = geometry_of(lhs, rhs, **arguments).out_layout.shape
        with jax.set_mesh(Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Explicit,) * mesh.devices.ndim)):
            f = jax.jit(partial(jaxconv.conv_general_dilated, **arguments, out_sharding=even(out_spec, shape)))
            out = f(jax.device_put(lhs, even(lhs_spec, lhs.shape)), jax.device_put(rhs, even(rhs_spec, rhs.shape)))
            assert out.sharding.spec == even(out_spec, shape)
        return jax.device_put(out, jax.devices()[0])

    return convolve


@given(sharded_problems())
def test_types_share_it_out(case):
    problem, mesh, lhs_spec, rhs_spec, out_spec = case
    rank = len(problem.lhs_shape)
    specs = [P(*spec, *(None,) * (rank - len(spec))) for spec in (lhs_spec, rhs_spec, out_spec)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        report = disagreement(by_types(mesh, *specs), problem, checks=["value"])
        assert not report, (report, problem, mesh, specs)


def allowed(geometry, axes, mesh):
    """Kind of collective -> how many the rule allows: halos of spatial axes from one shard on each side, or as many as
    they reach over, and the parts of sums added up at once."""
    shards = {factor: prod(mesh.shape[name] for name in names) for factor, names in axes.items()}
    parts = [along.window_of(geometry, factor, count) for factor, count in shards.items() if factor[0] in "pt"]
    return {
        "collective-permute": sum(-(-rows // part.own) for part in parts for rows in (part.left, part.right)),
        "all-reduce": any(factors.is_summed(factor) and count > 1 for factor, count in shards.items()),
    }


def on_shards(mesh, axes, max_bytes):
    """The convolution by `convolve_shard`, of shards that are made equal with NaNs: nothing may depend on these. And
    what it sends. `max_bytes` of 0: in pieces, where that can be, or of one position each. By "xla", in which
    groups that are NaN spoil others, whatever the cost model knows."""

    def convolve(lhs, rhs, **arguments):
        geometry = geometry_of(lhs, rhs, **arguments)
        held = factors.factors_of(geometry)
        asked = [(array, factors.spec_of(array, axes)) for array in (held.out, held.lhs, held.rhs)]
        possible = factors.divide(held, asked, dict(mesh.shape)).axes
        lhs_spec, rhs_spec, out_spec = (
            factors.partition_spec(factors.spec_of(array, possible)) for array in (held.lhs, held.rhs, held.out)
        )

        def with_nans(x, spec):
            shards = [prod(mesh.shape[name] for name in names or ()) for names in spec]
            pads = [(0, -size % count) for size, count in zip(x.shape, shards, strict=True)]
            return jnp.pad(x, pads, constant_values=np.nan)

        local = partial(
            shard.convolve_shard,
            lambda lhs, rhs, params, _: jaxconv.conv_general_dilated(lhs, rhs, **params, algorithm="xla"),
            geometry=geometry,
            params=to_params(geometry),
            axes=possible,
            mesh=dict(mesh.shape),
            max_bytes=max_bytes,
        )
        f = jax.shard_map(local, mesh=mesh, in_specs=(lhs_spec, rhs_spec), out_specs=out_spec, check_vma=False)
        operands = with_nans(lhs, lhs_spec), with_nans(rhs, rhs_spec)
        program = jax.jit(f).lower(*operands).compile()
        most = allowed(geometry, possible, mesh)
        for kind, each in traffic(program.as_text() or "").items():
            assert each.instructions <= most.get(kind, 0), (kind, each, most)
        out = program(*operands)
        return out[tuple(map(slice, geometry.out_layout.shape))]

    return convolve


@st.composite
def divided_problems(draw):
    problem, mesh = draw(wholes), mesh_of(draw(st.sampled_from(MESHES)))
    kinds = ["n", "g", "c", "o", *(f"{kind}{axis}" for kind in "pt" for axis in range(len(problem.window_strides)))]
    axes = {}
    for name in draw(st.permutations(mesh.axis_names)):
        factor = draw(st.sampled_from(kinds))
        axes[factor] = (*axes.get(factor, ()), name)
    return problem, mesh, axes, draw(limits)


@given(divided_problems())
def test_shards_that_hold_anything_beyond_what_is_real(case):
    problem, *where = case
    report = disagreement(on_shards(*where), problem, checks=["value"])
    assert not report, (report, problem, where)


def test_one_channel_over_two_devices():
    """In the gradient of the kernel channels are images: one of them is no sum, though an axis of it may be split."""
    problem = Problem((2, 1), (2, 1), (), "VALID", batch_group_count=2, dtype="float64")
    convolve = by_the_compiler(IN_ONE, mesh_of((2,)), P(None, None), P(), P("x"))
    assert not disagreement(convolve, problem, checks=["value", "gradient"])


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


def of_the_other_side(sent, names, hops, mesh):
    return halo.passed_on(sent, names, -hops, mesh)


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


windows = st.builds(
    window,
    *(st.integers(1, 20), st.integers(1, 20), st.integers(1, 5), st.integers(1, 3)),
    *(st.integers(0, 8), st.integers(1, 3), st.integers(-6, 8)),
)  # size, total, shards, step, reach, dilation, low


@given(windows, st.integers(1, 20))
def test_windows(part, count):
    """Each block has the rows that it needs where its convolution looks for them; none are received for nothing."""
    size, total, shards, step, reach, dilation, low, own, share, *_ = part
    count = min(count, share)
    blocks = part.blocks_of(count)
    assert {p for start in blocks.starts for p in range(start, start + count)} == {*range(share)}
    needed = {"left": 0, "right": 0}
    for j, (at, start) in product(range(shards), enumerate(blocks.starts)):
        mine = range(j * own, (j + 1) * own)
        received = range(mine.start - part.left, mine.stop + part.right)
        for position in range(j * share + start, min(j * share + start + count, total)):
            local = position - (j * share + start - blocks.skips[j, at])
            assert 0 <= local < blocks.computed
            for behind in range(reach + 1):
                row, phase = divmod(step * position + behind - low, dilation)
                here, local_phase = divmod(step * local + behind - blocks.padding[0], dilation)
                there = mine.start + blocks.firsts[j, at] + here  # which row that is
                if phase or not 0 <= row < size:  # a zero: of the dilation, the padding, or of nobody's row
                    assert local_phase or not 0 <= here < blocks.rows or there not in received or not 0 <= there < size
                else:
                    assert not local_phase and there == row and 0 <= here < blocks.rows and row in received
                    needed["left"] = max(needed["left"], mine.start - row)
                    needed["right"] = max(needed["right"], row - mine.stop + 1)
    assert needed == {"left": part.left, "right": part.right}


@st.composite
def windows_at_the_same_place(draw):
    shards, step, dilation, times = (draw(st.integers(*span)) for span in ((2, 5), (1, 3), (1, 3), (1, 6)))
    rows, positions = shards * step * times, shards * dilation * times
    return window(rows, positions, shards, step, draw(st.integers(0, 8)), dilation, draw(st.integers(-6, 8)))


@given(windows_at_the_same_place())
def test_pieces_of_windows(part):
    """Each product of a row and a position is in one of them, where its padding puts it."""
    regular_windows = pieces.regular_windows([Along(part, ("x",), 0, 0, False, 0, part.share)])
    assume(regular_windows)
    [regular] = regular_windows
    _, _, _, step, reach, dilation, _, own, share, *_ = part

    def meet(position, row):
        return 0 <= regular.origin + dilation * row - step * position <= reach

    rows = range(-part.left, own + part.right)
    first, end = regular.inner
    for row in rows:
        for position in range(share):
            if meet(position, row) and not 0 <= row < own:
                assert position < first if row < 0 else position >= end
    for piece in (regular.own_rows, regular.all_rows, *regular.edges, *regular.neighbours_rows):
        before, after = regular.padding_of(piece)
        places = {before + dilation * (row - piece.rows[0]): row for row in range(*piece.rows)}
        count = before + after + (len(places) - 1) * dilation + 1
        assert (count - reach - 1) // step + 1 == len(range(*piece.positions))
        for position in range(*piece.positions):
            start = step * (position - piece.positions[0])
            found = {places[place] for place in range(start, start + reach + 1) if place in places}
            assert found == {row for row in range(*piece.rows) if meet(position, row)}
    for edge in regular.edges:
        assert all(row in range(*edge.rows) for row in rows for at in range(*edge.positions) if meet(at, row))


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
        np.testing.assert_array_equal(f(jnp.asarray(whole)), expected)
