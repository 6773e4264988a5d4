"""Inputs that go on beyond their edges, against numpy.pad, flax and PyTorch."""

from dataclasses import replace
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import convolutions
from hypothesis import given
from jax import lax
from multilinear import disagreement

from jaxconv import conv_general_dilated, conv_with_padding_mode
from jaxconv._functions import padding_modes
from jaxconv.testing import Problem, problems

NUMPY: dict[str, Any] = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}
modes = pytest.mark.parametrize("mode", NUMPY)
NHWC = ("NHWC", "HWIO", "NHWC")


def extended(lhs, axes, pads, mode):
    """By an index for each place, which NumPy finds: a window on the input that goes on for ever."""
    for axis, (low, high) in zip(axes, pads, strict=True):
        size = lhs.shape[axis]
        places = np.pad(np.arange(size), (max(low, 0), max(high, 0)), mode=NUMPY[mode])
        lhs = lhs[(slice(None),) * axis + (places[max(-low, 0) : len(places) - max(-high, 0)],)]
    return lhs


def violation(problem, mode):
    """Of the same convolution without padding, of an input that NumPy padded."""
    lhs, rhs = problem.operands()
    out = conv_with_padding_mode(lhs, rhs, padding_mode=mode, accuracy="strict", **problem.arguments)
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, problem.dimension_numbers)
    sizes, taps = ([x.shape[i] for i in spec[2:]] for x, spec in ((lhs, numbers.lhs_spec), (rhs, numbers.rhs_spec)))
    gaps, pads = problem.rhs_dilation or (1,) * len(taps), problem.padding
    if isinstance(pads, str):
        extent = [(k - 1) * gap + 1 for k, gap in zip(taps, gaps, strict=True)]
        pads = lax.padtype_to_pads(sizes, extent, problem.window_strides, pads)
    wide = jnp.asarray(extended(np.asarray(lhs), numbers.lhs_spec[2:], pads, mode))
    return replace(problem, lhs_shape=wide.shape, padding="VALID").violation(out, wide, rhs)


# Pads of up to 4 and crops of up to 2, on axes of 1 to 8, in any layout, with feature groups and batch groups.
SOME = problems(dtypes=("float32", "bfloat16", "complex64", "int8"), lhs_dilation=False, empty=False)


@modes
@given(SOME)
def test_is_numpys_padding_before_a_convolution(mode, problem):
    assert violation(problem, mode) == ""


@pytest.mark.parametrize("wrong", ["symmetric", "empty", "constant"])
def test_that_test_can_fail(monkeypatch, wrong):
    monkeypatch.setitem(padding_modes.PADDING_MODES, "reflect", wrong)
    assert violation(Problem((1, 2, 5), (3, 2, 3), (1,), ((3, 6),)), "reflect")


@modes
@pytest.mark.parametrize(
    "lhs, rhs, arguments",
    [
        ((2, 7, 5, 2), (3, 2, 2, 3), dict(window_strides=(2, 1), padding=((9, 0), (1, 6)), dimension_numbers=NHWC)),
        ((2, 4, 6), (4, 2, 3), dict(window_strides=(1,), padding=((3, -1),), rhs_dilation=(2,), feature_group_count=2)),
    ],
    ids=["longer than the input", "cropped, dilated, grouped"],
)
def test_values_and_derivatives(mode, lhs, rhs, arguments):
    spatial = range(1, 3) if "dimension_numbers" in arguments else range(2, 3)

    def ours(lhs, rhs):
        return conv_with_padding_mode(lhs, rhs, padding_mode=mode, accuracy="strict", **arguments)

    def theirs(lhs, rhs):
        return lax.conv_general_dilated(
            extended(lhs, spatial, arguments["padding"], mode), rhs, **{**arguments, "padding": "VALID"}
        )

    assert disagreement(ours, theirs, lhs, rhs) == ""


@given(problems(empty=False))
def test_zeros_are_the_librarys_own(problem):
    lhs, rhs = problem.operands()
    arguments: dict[str, Any] = {"accuracy": "strict", **problem.arguments}
    np.testing.assert_array_equal(
        conv_with_padding_mode(lhs, rhs, **arguments), conv_general_dilated(lhs, rhs, **arguments)
    )


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("mode", ["zeros", *NUMPY])
def test_is_pytorchs_layer(mode, ndim):
    torch = pytest.importorskip("torch")
    taps, stride, gaps = ((3, 2, 2)[:ndim], (2, 1, 2)[:ndim], (1, 2, 1)[:ndim])
    by = [3, 2, 1][:ndim]
    kind = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[ndim - 1]
    layer = kind(4, 6, taps, stride, by, gaps, groups=2, bias=False, padding_mode=mode, dtype=torch.float64)
    lhs = np.random.default_rng(0).standard_normal((2, 4, *(5, 4, 3)[:ndim]))
    theirs_lhs = torch.tensor(lhs, requires_grad=True)
    expected = layer(theirs_lhs)
    (expected**2).sum().backward()

    @jax.jit
    def ours(lhs, rhs):
        out, back = jax.vjp(
            lambda lhs, rhs: conv_with_padding_mode(
                lhs, rhs, stride, by, mode, rhs_dilation=gaps, feature_group_count=2
            ),
            lhs,
            rhs,
        )
        return out, *back(2 * out)

    for got, wanted in zip(
        ours(lhs, layer.weight.detach().numpy()), (expected, theirs_lhs.grad, layer.weight.grad), strict=True
    ):
        np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "theirs, padding, mode",
    [("CIRCULAR", "SAME", "circular"), ("REFLECT", "SAME", "reflect"), ("CAUSAL", "CAUSAL", "zeros")],
)
@pytest.mark.parametrize("taps", [3, 4])
def test_is_flaxs_layer(theirs, padding, mode, taps):
    rng = np.random.default_rng(0)
    lhs, rhs = jnp.asarray(rng.standard_normal((2, 9, 3))), jnp.asarray(rng.standard_normal((taps, 3, 4)))
    layer = flax.linen.Conv(4, (taps,), padding=theirs, kernel_dilation=2, use_bias=False, dtype="float64")
    expected = np.asarray(layer.apply({"params": {"kernel": rhs}}, lhs))
    got = conv_with_padding_mode(
        lhs, rhs, (1,), padding, mode, rhs_dilation=(2,), dimension_numbers=("NWC", "WIO", "NWC")
    )
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "mode, arguments",
    [
        ("zeros", dict(rhs_dilation=(2, 1), window_strides=(2, 1))),
        ("replicate", dict(rhs_dilation=(2, 1), window_strides=(2, 1))),
        ("zeros", dict(lhs_dilation=(2, 1))),
    ],
)
def test_causal_results_depend_on_nothing_later(mode, arguments):
    """And on their own position and on each that the taps reach."""
    lhs, rhs = jnp.ones((1, 1, 7, 6)), jnp.ones((1, 1, 3, 2))
    arguments = {"window_strides": (1, 1), "lhs_dilation": (1, 1), **arguments}

    def ours(lhs):
        return conv_with_padding_mode(lhs, rhs, padding="Causal", padding_mode=mode, **arguments)

    seen = np.asarray(jax.jacfwd(ours)(lhs))[0, 0, :, :, 0, 0] != 0  # rows, columns of the result; those of the input
    strides, spread = arguments["window_strides"], arguments["lhs_dilation"]
    assert seen.shape[:2] == tuple(((n - 1) * d) // s + 1 for n, d, s in zip((7, 6), spread, strides, strict=True))
    for out in np.ndindex(*seen.shape[:2]):
        place = [i * s for i, s in zip(out, strides, strict=True)]
        later = [np.arange(n) * d > at for n, d, at in zip((7, 6), spread, place, strict=True)]
        assert not seen[out][later[0]].any() and not seen[out][:, later[1]].any()
        if all(at % d == 0 for at, d in zip(place, spread, strict=True)):
            assert seen[out][place[0] // spread[0], place[1] // spread[1]]


@modes
def test_more_and_less_padding_are_windows_on_the_same_results(mode):
    lhs, rhs = jnp.arange(5.0).reshape(1, 1, 5), jnp.ones((1, 1, 2))
    whole = conv_with_padding_mode(lhs, rhs, (1,), 9, mode)
    for low, high in [(-2, 7), (4, -3), (-1, -1), (0, 8)]:
        part = conv_with_padding_mode(lhs, rhs, (1,), [(low, high)], mode)
        np.testing.assert_array_equal(part, whole[:, :, 9 - low : whole.shape[2] - (9 - high)])


@modes
def test_is_one_convolution_of_ours_and_no_gather(mode):
    lhs, rhs = jnp.ones((1, 1, 3)), jnp.ones((1, 1, 2))

    def gradient(lhs):
        return jax.grad(lambda lhs: conv_with_padding_mode(lhs, rhs, (1,), 4, mode).sum())(lhs)

    assert convolutions(gradient, lhs) == (0, 2)
    assert "gather" not in str(jax.make_jaxpr(gradient)(lhs)) and "scatter" not in str(jax.make_jaxpr(gradient)(lhs))


@modes
def test_symbolic_batch(mode):
    (batch,) = jax.export.symbolic_shape("b")

    def ours(lhs):
        return conv_with_padding_mode(lhs, jnp.ones((1, 1, 2)), (1,), "SAME", mode)

    lhs = jnp.arange(6.0).reshape(2, 1, 3)
    exported = jax.export.export(jax.jit(ours))(jax.ShapeDtypeStruct((batch, 1, 3), lhs.dtype))
    np.testing.assert_array_equal(exported.call(lhs), ours(lhs))


lhs, rhs = jnp.ones((1, 2, 5, 5)), jnp.ones((3, 2, 3, 3))


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(padding_mode="mirror"), "padding_mode must be one of 'zeros', .*'replicate', got 'mirror'"),
        (dict(padding_mode="causal"), "got 'causal': 'CAUSAL' is a padding"),
        (dict(padding_mode="circular", padding="CAUSAL"), "'CAUSAL' keeps later inputs out, 'circular' does not"),
        (dict(padding_mode="reflect", padding="causal"), "'CAUSAL' keeps later inputs out, 'reflect' does not"),
        (dict(padding_mode="reflect", lhs_dilation=(1, 2)), r"'reflect' does not go with lhs_dilation \(1, 2\)"),
        (dict(padding_mode="replicate", lhs=lhs[:, :, :0]), r"of length 0 .*'replicate': spatial sizes \(0, 5\)"),
        (dict(padding="FULL"), "padding must be one of 'SAME', .*'CAUSAL', an integer or pairs .*, got 'FULL'"),
        (dict(padding=[(1, 1)]), r"for each of 2 axes an integer or a pair .*, got \[\(1, 1\)\]"),
        (dict(padding=[1, (1, 2, 3)]), r"for each of 2 axes an integer or a pair .*, got \[1, \(1, 2, 3\)\]"),
        (dict(padding=0.5), "for each of 2 axes an integer or a pair .*, got 0.5"),
        (dict(padding=[(-9, 0), (0, 0)], padding_mode="reflect"), "Negative padding is larger than the size"),
        (dict(rhs=rhs[:, :1], padding_mode="circular"), "feature_group_count"),
        (dict(lhs=[[1.0]], padding_mode="circular", padding="VALID"), r"lhs must be an array, got \[\[1.0\]\]"),
        (dict(algorithm="magic", padding_mode="circular"), "algorithm must be None or one of .*, got 'magic'"),
        (dict(window_strides=(0, 1), padding=1, padding_mode="circular"), r"window_strides must be positive"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_errors(wrong, message):
    arguments = {"lhs": lhs, "rhs": rhs, "window_strides": (1, 1), "padding": 1, **wrong}
    with pytest.raises((ValueError, TypeError), match=message):
        conv_with_padding_mode(**arguments)


def test_an_empty_axis_may_stay_empty():
    out = conv_with_padding_mode(lhs[:, :, :0], rhs, (1, 1), [(0, 0), (1, 1)], "reflect")
    assert out.shape == (1, 3, 0, 5)
