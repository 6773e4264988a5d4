"""Wrong arguments: what lax says where lax says something, our own words where lax leaves it to the compiler."""

import inspect
from typing import Any

import jax.numpy as jnp
import pytest
from jax import lax

import jaxconv

lhs, rhs = jnp.ones((2, 4, 5, 5)), jnp.ones((6, 4, 3, 3))

WRONG = {
    "ranks differ": dict(lhs=jnp.ones((2, 4, 5))),
    "types differ": dict(rhs=jnp.ones((6, 4, 3, 3), "float16")),
    "channels": dict(rhs=jnp.ones((6, 3, 3, 3))),
    "feature groups do not divide inputs": dict(feature_group_count=3),
    "feature groups do not divide outputs": dict(rhs=jnp.ones((5, 2, 3, 3)), feature_group_count=2),
    "no feature groups": dict(feature_group_count=0),
    "batch groups do not divide images": dict(batch_group_count=3),
    "batch groups do not divide outputs": dict(rhs=jnp.ones((5, 4, 3, 3)), batch_group_count=2),
    "both kinds of groups": dict(rhs=jnp.ones((6, 2, 3, 3)), feature_group_count=2, batch_group_count=2),
    "number of strides": dict(window_strides=(1,)),
    "name of padding": dict(padding="FULL"),
    "number of paddings": dict(padding=[(0, 0)]),
    "padding not in pairs": dict(padding=[1, 1]),
    "crops more than there is": dict(padding=[(-9, 0), (0, 0)]),
    "named padding of a transposed convolution": dict(padding="SAME", lhs_dilation=(2, 2)),
    "dilation of zero": dict(padding=[(0, 0)] * 2, lhs_dilation=(0, 1)),
    "rhs dilation of zero": dict(rhs_dilation=(0, 1)),
    "letters": dict(dimension_numbers=("NCHW", "OIHX", "NCHW")),
    "repeated letters": dict(dimension_numbers=("NCHH", "OIHH", "NCHH")),
    "two layouts": dict(dimension_numbers=("NCHW", "OIHW")),
    "layout of another rank": dict(dimension_numbers=("NCH", "OIH", "NCH")),
    "layout of another type": dict(dimension_numbers=3),
    "precision": dict(precision="very good"),
    "narrower result": dict(preferred_element_type="float16"),
    "result of another kind": dict(preferred_element_type="int32"),
}


# Errors are found before an algorithm is looked at: some that take everything stand for all.
SOME = [None, "naive", "im2col", "xla"]


@pytest.mark.parametrize("algorithm", SOME)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_errors_are_those_of_lax(algorithm, wrong):
    arguments = {"lhs": lhs, "rhs": rhs, "window_strides": (1, 1), "padding": "VALID", **wrong}
    with pytest.raises(Exception) as theirs:
        lax.conv_general_dilated(**arguments)
    with pytest.raises(type(theirs.value)) as ours:
        jaxconv.conv_general_dilated(**arguments, algorithm=algorithm)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("algorithm", SOME)
@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(window_strides=(0, 1)), r"window_strides must be positive, got \(0, 1\)"),
        (dict(window_strides=(1, -2)), r"window_strides must be positive, got \(1, -2\)"),
        (dict(rhs_dilation=(1,)), r"rhs_dilation must have one entry for each of the 2 spatial dimensions, got \(1,\)"),
        (dict(rhs=jnp.ones((6, 4, 0, 3))), r"rhs must have at least one tap along each axis, got \(0, 3\)"),
        (dict(lhs="image"), "lhs must be an array, got 'image'"),
        (dict(rhs=[[1.0]]), r"rhs must be an array, got \[\[1.0\]\]"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_errors_where_those_of_lax_say_less(algorithm, wrong, message):
    """lax leaves these to the compiler, whose message names no argument, or fails on a missing attribute."""
    arguments = {"lhs": lhs, "rhs": rhs, "window_strides": (1, 1), "padding": "VALID", **wrong}
    with pytest.raises((ValueError, AttributeError)):
        lax.conv_general_dilated(**arguments)
    with pytest.raises((ValueError, TypeError), match=f"conv_general_dilated {message}"):
        jaxconv.conv_general_dilated(**arguments, algorithm=algorithm)


def test_unknown_algorithm_lists_the_names():
    names = ", ".join(map(repr, jaxconv.ALGORITHMS))
    with pytest.raises(ValueError, match=f"one of {names}, got 'magic'"):
        jaxconv.conv_general_dilated(lhs, rhs, (1, 1), "SAME", algorithm="magic")


REFUSED = {
    "winograd2": (dict(window_strides=(2, 1)), r"strides must be 1, and are \(2, 1\)"),
    "winograd4": (dict(rhs=jnp.ones((6, 4, 3, 2))), r"it needs 3 taps along each axis, or one, and has \(3, 2\)"),
}


@pytest.mark.parametrize("algorithm", REFUSED)
def test_what_an_algorithm_cannot_do_is_said(algorithm):
    changes, message = REFUSED[algorithm]
    arguments = {"lhs": lhs, "rhs": rhs, "window_strides": (1, 1), "padding": "VALID", **changes}
    reason = f"algorithm '{algorithm}' cannot do this convolution: .*{message}"
    with pytest.raises(ValueError, match=reason):
        jaxconv.conv_general_dilated(**arguments, algorithm=algorithm)


def test_whole_numbers_are_refused_by_algorithms_with_fractions():
    with pytest.raises(ValueError, match="its transforms have fractions, and int8 has none"):
        jaxconv.conv_general_dilated(lhs.astype("int8"), rhs.astype("int8"), (1, 1), "SAME", algorithm="winograd2")


def test_signature_is_that_of_lax():
    theirs = list(inspect.signature(lax.conv_general_dilated).parameters.values())
    ours = list(inspect.signature(jaxconv.conv_general_dilated).parameters.values())
    assert [(p.name, p.default, p.kind) for p in ours[: len(theirs)]] == [(p.name, p.default, p.kind) for p in theirs]
    assert [(p.name, p.kind) for p in ours[len(theirs) :]] == [
        (name, inspect.Parameter.KEYWORD_ONLY)
        for name in ("algorithm", "accuracy", "max_workspace_bytes", "spatial_axis_name")
    ]


@pytest.mark.parametrize("name", ["window_strides", "lhs_dilation", "rhs_dilation"])
def test_an_equal_call_with_integers_does_not_make_floats_right(name):
    arguments = {"window_strides": (1, 1), "padding": ((1, 1), (1, 1)), "lhs_dilation": (1, 1), "rhs_dilation": (1, 1)}
    jaxconv.conv_general_dilated(lhs, rhs, **arguments)
    with pytest.raises(TypeError, match=rf"conv_general_dilated {name} must be integers, got \(1\.0, 1\)"):
        jaxconv.conv_general_dilated(lhs, rhs, **{**arguments, name: (1.0, 1)})
    with pytest.raises(ValueError, match="padding argument to conv_general_dilated should be"):  # lax's words
        jaxconv.conv_general_dilated(lhs, rhs, **{**arguments, "padding": ((1.0, 1), (1, 1))})


def test_algorithms_that_are_no_names():
    wrongs: list[Any] = [["im2col"], {}, 3]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="algorithm must be None or one of 'naive', "):
            jaxconv.conv_general_dilated(lhs, rhs, (1, 1), "SAME", algorithm=wrong)


def test_only_functions_are_accelerated():
    with pytest.raises(TypeError, match="accelerate takes a function, got None"):
        jaxconv.accelerate(None)  # pyright: ignore[reportArgumentType]
