"""Values in the order of their axes: where that is asked for, and that it is what XLA then does."""

import jax
import numpy as np
import pytest

import jaxconv
from jaxconv._in_order import in_order

IMAGE, KERNEL = np.ones((1, 3, 8, 7), "float32"), np.ones((4, 3, 3, 3), "float32")
PLAIN, TURNED = "f32[5,8]{1,0} dot(", "f32[8,5]{1,0} dot("


def by_winograd(image, kernel):
    return jaxconv.conv_general_dilated(image, kernel, (1, 1), "SAME", algorithm="winograd2")


@pytest.mark.parametrize("demanded", [False, True])
def test_what_is_transposed_afterwards_is_computed_in_order(demanded):
    """Without it XLA computes the other way round: a demand that did nothing would be noticed."""

    def turned(array):
        value = array @ ones
        return (in_order(value) if demanded else value).T

    array, ones = np.arange(30, dtype="float32").reshape(5, 6), np.ones((6, 8), "float32")
    program = jax.jit(turned).lower(array).compile()
    text = program.as_text() or ""
    assert (PLAIN in text, TURNED in text) == (demanded, not demanded)
    np.testing.assert_array_equal(program(array), (array @ ones).T)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_it_is_asked_for_on_cpus_alone(platform):
    lowered = jax.jit(by_winograd).trace(IMAGE, KERNEL).lower(lowering_platforms=(platform,))
    assert ("LayoutConstraint" in lowered.as_text()) == (platform == "cpu")


def test_outside_of_a_program_it_is_the_same_array():
    array = jax.numpy.asarray(IMAGE)
    assert in_order(array) is array


def test_exported_programs_do_without():
    exported = jax.export.export(jax.jit(by_winograd))(IMAGE, KERNEL)
    assert "LayoutConstraint" not in str(exported.mlir_module())
    np.testing.assert_allclose(exported.call(IMAGE, KERNEL), by_winograd(IMAGE, KERNEL), rtol=1e-5)
