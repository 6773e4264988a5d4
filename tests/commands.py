"""What is typed, what comes of it, and which convolutions are meant."""

import jax
import pytest

from jaxconv import __main__ as entry
from jaxconv._collect import convolutions
from jaxconv._command.language import read
from jaxconv._machine import conditions
from jaxconv._parameters import to_params
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned

TEXT = "conv 2x8x8x4 3x3x4x4 pad=SAME"
OTHER = "conv 2x8x8x4 3x3x4x4 stride=2"


def run(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    if arguments[:1] == ("tune",):
        pytest.importorskip("filelock")
    try:
        code = entry.main(list(map(str, arguments)))
    except SystemExit as stopped:
        assert isinstance(stopped.code, int)
        code = stopped.code
    return code, *capsys.readouterr()


def refused(capsys, *arguments):
    """What is said of wrong input: in one line, and nothing else."""
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
    return err


def operands(geometry):
    return [jax.ShapeDtypeStruct(layout.shape, geometry.dtype) for layout in (geometry.lhs_layout, geometry.rhs_layout)]


def in_training(text):
    """What autodiff makes of the convolution: the geometries in a program that has its value and both gradients."""
    g = read(text)

    def step(lhs, rhs):
        def loss(lhs, rhs):
            return (jax.lax.conv_general_dilated(lhs, rhs, **to_params(g)) ** 2).sum()

        return jax.grad(loss, (0, 1))(lhs, rhs)

    return {each.role: each.geometry for each in convolutions(step, *operands(g))}


def plan_of(text, **made):
    return Plan({**conditions(), **made}, {read(text): Tuned("im2col", {"im2col": 0.5, "xla": 0.75}, {})})
