"""What holds after `install` and `uninstall`, again and otherwise: for what was compiled before, and after errors."""

from typing import Any

import jax
import numpy as np
import pytest
from installing import LHS, RHS, conv, is_lax, random
from installing import clean as clean
from installing import ran as ran
from installing import sevens as sevens
from jax import lax

import jaxconv


def test_what_was_compiled_or_exported_before(sevens):
    compiled, exported = jax.jit(conv).lower(LHS, RHS).compile(), jax.export.export(jax.jit(conv))(LHS, RHS)
    expected = compiled(LHS, RHS)
    jaxconv.install(algorithm="im2col")
    np.testing.assert_array_equal(compiled(LHS, RHS), expected)
    np.testing.assert_array_equal(exported.call(LHS, RHS), expected)
    exported = jax.export.export(jax.jit(conv))(LHS, RHS)
    jaxconv.uninstall()
    assert (exported.call(LHS, RHS) == 7).all()


def test_what_was_jitted_is_compiled_anew(sevens):
    inner = jax.jit(conv)
    functions = inner, conv, jax.jit(lambda lhs, rhs: inner(lhs, rhs) + 0), jax.vmap(inner, (0, None))

    def is_seven():
        values = [f(LHS[:, None] if f is functions[-1] else LHS, RHS) for f in functions]
        assert len({bool((value == 7).all()) for value in values}) == 1
        return bool((values[0] == 7).all())

    seen = [is_seven()]
    for change in (lambda: jaxconv.install(algorithm="im2col"), jaxconv.uninstall) * 2:
        change()
        seen.append(is_seven())
    assert seen == [False, True, False, True, False]
    np.testing.assert_array_equal(inner(LHS, RHS), jax.jit(lambda *operands: conv(*operands))(LHS, RHS))


def test_again_and_otherwise(ran):
    traced = []

    @jax.jit
    def f(lhs, rhs):
        traced.append(True)
        return conv(lhs, rhs)

    jaxconv.uninstall()  # without install
    for algorithm, count in (("im2col", 1), ("im2col", 1), ("kn2row", 2)):
        jaxconv.install(algorithm=algorithm)
        f(LHS, RHS)
        assert len(traced) == count and ran[-1] == algorithm
    jaxconv.install()
    f(LHS, RHS)
    [row] = jaxconv.explain(f, LHS, RHS).rows
    assert ran[2:] == [row.algorithm] * (row.algorithm != "xla")
    jaxconv.uninstall()
    jaxconv.uninstall()
    assert is_lax(f, LHS, RHS)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"algorithm": "magic"}, "algorithm must be None or one of 'naive', .*'xla', got 'magic'"),
        ({"accuracy": "exact"}, "accuracy must be one of 'strict', 'default', 'fast', got 'exact'"),
        ({"max_workspace_bytes": -1}, "max_workspace_bytes must be an integer of 0 or more, got -1"),
    ],
)
def test_what_is_neither_raises_and_changes_nothing(wrong: dict[str, Any], message, sevens):
    for before in (False, True):
        if before:
            jaxconv.install(algorithm="im2col")
        with pytest.raises(ValueError, match=message):
            jaxconv.install(**wrong)
        assert (conv(LHS, RHS) == 7).all() == before


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_arguments_of_lax_raise_as_within_accelerate():
    jaxconv.install()
    with pytest.raises(ValueError, match=r"conv_general_dilated window_strides must be positive, got \(0, 1\)"):
        jax.jit(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, (0, 1), "VALID"))(LHS, random((4, 4, 3, 3), 0))
