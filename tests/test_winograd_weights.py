"""Winograd's filtering of weight gradients: convolutions of three positions, or one, along each axis, and many taps."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bounds import bound_for
from hypothesis import given
from hypothesis import strategies as st

import jaxconv
from jaxconv._accuracy import ERROR_FACTOR
from jaxconv._algorithms import ALGORITHMS, _toom_cook, _winograd_weights
from jaxconv._parameters import geometry_of
from jaxconv.testing import Problem

TILES = {"winograd2": 2, "winograd4": 4}
# Images for channels, as the weight gradients of layers with channels last have them, and as usual.
LAYOUTS = {
    "gradient": {1: ("CWN", "IWO", "WNC"), 2: ("CHWN", "IHWO", "HWNC"), 3: ("CDHWN", "IDHWO", "DHWNC")},
    "usual": {1: ("NCW", "OIW", "NCW"), 2: ("NCHW", "OIHW", "NCHW"), 3: ("NCDHW", "OIDHW", "NCDHW")},
}


def ordered(sizes, spec, axes):
    """The shape in the order of the letters, with the sizes of `axes` for the two that are not spatial."""
    names = iter("DHW"[3 - len(sizes) + 2 :])
    by_letter = dict(zip([*axes, *names], sizes, strict=True))
    return tuple(by_letter[letter] for letter in spec)


@st.composite
def gradients(draw, dtypes=("float32", "float64", "bfloat16", "complex64")):
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    counts = draw(st.lists(st.sampled_from([3, 1]), min_size=rank, max_size=rank).filter(lambda counts: 3 in counts))
    size = st.integers(4, 11 if rank < 3 else 6)  # with less than 4 taps it is a layer, not its gradient
    kernel = [draw(size) for _ in counts]
    strides = [draw(st.integers(1, 3)) if count == 3 else 1 for count in counts]
    padding = [(draw(st.integers(-2, 2)), draw(st.integers(-2, 2))) for _ in counts]
    spatial = [
        taps + (count - 1) * stride - sum(pair) + draw(st.integers(0, stride - 1))
        for count, taps, stride, pair in zip(counts, kernel, strides, padding, strict=True)
    ]
    images, inputs, outputs = (draw(st.integers(1, 4)) for _ in range(3))
    numbers = LAYOUTS[draw(st.sampled_from([*LAYOUTS]))][rank]
    return Problem(
        ordered((inputs, images, *spatial), numbers[0], "NC"),
        ordered((outputs, images, *kernel), numbers[1], "OI"),
        tuple(strides),
        tuple(padding),
        dimension_numbers=numbers,
        dtype=draw(st.sampled_from(dtypes)),
    )


def run(algorithm, problem, bound=2**24):
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    assert not algorithm.unsupported(geometry)
    return jax.jit(lambda lhs, rhs: algorithm.convolve(lhs, rhs, geometry, bound))(lhs, rhs), lhs, rhs


@pytest.mark.parametrize("name", TILES)
@given(problem=gradients(), bound=st.sampled_from([2**24, 4000]))
def test_values(name, problem, bound):
    """In one part and in many."""
    out, lhs, rhs = run(ALGORITHMS[name], problem, bound)
    assert not problem.violation(out, lhs, rhs, ERROR_FACTOR[name], normwise=True)


EXAMPLE = Problem((6, 8, 7, 4), (6, 8, 7, 5), (1, 1), ((1, 1), (1, 1)), dimension_numbers=LAYOUTS["gradient"][2])


@pytest.mark.parametrize("name", TILES)
@pytest.mark.parametrize("parts", ["images", "rows", "inputs"])
def test_it_is_cut_by_images_rows_and_inputs(name, parts):
    problem = replace(EXAMPLE, dtype="float64")
    geometry = geometry_of(*problem.operands(), **problem.arguments)
    by_images = geometry.in_channels
    by_rows = by_images * geometry.kernel[0]
    limits = {"images": (1, by_images), "rows": (by_images, by_rows), "inputs": (by_rows,)}[parts]
    out, lhs, rhs = run(ALGORITHMS[name], problem, bound_for(ALGORITHMS[name], geometry, *limits))
    assert not problem.violation(out, lhs, rhs, ERROR_FACTOR[name], normwise=True)


@pytest.mark.parametrize("name", TILES)
def test_layers_ask_for_it(name):
    """The gradient of the weights of a layer, dilated, too, by the algorithm that the layer asks for."""
    lhs, rhs = jnp.ones((2, 12, 11, 3)), jnp.ones((3, 3, 3, 4))
    arguments = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def loss(rhs, spread):
        return jaxconv.conv_general_dilated(lhs, rhs, rhs_dilation=spread, algorithm=name, **arguments).sum()

    for spread in ((1, 1), (2, 3)):
        rows = jaxconv.explain(jax.grad(loss), rhs, spread).rows
        assert [row.algorithm for row in rows] == [name, name] and rows[-1].why == "asked for"


@pytest.mark.parametrize("name", TILES)
def test_what_is_cropped_or_never_read_takes_no_part(name):
    """Not even where a tile reaches beyond the last tap, or positions are so far apart that some inputs are left."""
    for padding, stride, left_out in ([(0, -2)], 1, slice(9, None)), ([(0, 0)], 2, slice(11, None)):
        lhs, rhs = jnp.ones((1, 1, 11 if stride == 1 else 12)).at[..., left_out].set(jnp.nan), jnp.ones((1, 1, 7))
        geometry = geometry_of(lhs, rhs, (stride,), padding)
        assert geometry.out_spatial == (3,)
        np.testing.assert_allclose(ALGORITHMS[name].convolve(lhs, rhs, geometry), np.full((1, 1, 3), 7.0), 1e-12)


@pytest.mark.parametrize("name", TILES)
@pytest.mark.parametrize("operand", [0, 1])
def test_infinities_stay_with_their_channel(name, operand):
    operands = [jnp.asarray(each) for each in EXAMPLE.operands()]
    operands[operand] = operands[operand].at[1, 2, 3, 0].set(jnp.inf)
    out = ALGORITHMS[name].convolve(*operands, geometry_of(*operands, **EXAMPLE.arguments))
    hit, others = (out[:, :, 0], out[:, :, 1:]) if operand == 0 else (out[..., 0], out[..., 1:])
    assert jnp.isfinite(others).all() and not jnp.isfinite(hit).any()


REFUSED = {
    "positions": ({"padding": [(0, 0), (0, 1)]}, r"needs 3 along each axis, or one, and has \(3, 4\)"),
    "strides of the layer": ({"rhs_dilation": (2, 1), "padding": [(4, 4), (0, 0)]}, r"rhs_dilation must be 1"),
    "upsampled": ({"lhs_dilation": (1, 2), "padding": [(0, 0), (0, -11)]}, r"lhs_dilation must be 1, and is \(1, 2\)"),
    "groups": ({"feature_group_count": 2}, r"one group, and here 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses(name):
    changes, reason = REFUSED[name]
    groups = changes.get("feature_group_count", 1)
    lhs, rhs = jnp.ones((2, 4, 11, 12)), jnp.ones((6, 4 // groups, 9, 10))
    geometry = geometry_of(lhs, rhs, **{"window_strides": (1, 1), "padding": "VALID", **changes})
    assert re.search(reason, ALGORITHMS["winograd2"].unsupported(geometry))


@pytest.mark.parametrize("matrix", range(3))
@pytest.mark.parametrize("name", TILES)
def test_a_wrong_sign_in_a_transform_is_found(monkeypatch, matrix, name):
    problem = replace(EXAMPLE, dtype="float64")
    right = _toom_cook.transforms(3, TILES[name])
    for row in range(len(right[matrix])):
        wrong = [[list(line) for line in each] for each in right]
        wrong[matrix][row][-2] = -wrong[matrix][row][-2] or 1.0
        with monkeypatch.context() as patch:
            patch.setattr(_winograd_weights, "transforms", lambda *_, wrong=wrong: wrong)
            out, lhs, rhs = run(_winograd_weights.algorithm(TILES[name]), problem)
        assert problem.violation(out, lhs, rhs, ERROR_FACTOR[name], normwise=True)


def test_images_that_are_left_out_are_found(monkeypatch):
    """The sum is over all parts."""
    problem = replace(EXAMPLE, dtype="float64")
    geometry = geometry_of(*problem.operands(), **problem.arguments)
    bound = ALGORITHMS["winograd2"].workspace(geometry) // 2
    first = 0, 0, 0
    monkeypatch.setattr(
        "jaxconv._summands.for_each_block", lambda shape, read, body, carry: body(first, read(first), carry)
    )
    out, lhs, rhs = run(ALGORITHMS["winograd2"], problem, bound)
    assert problem.violation(out, lhs, rhs, ERROR_FACTOR["winograd2"], normwise=True)
