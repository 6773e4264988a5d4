"""Convolutions of sharded arrays: on any mesh, any axes of lhs and rhs shared out over any of its axes, evenly or not,
values and gradients are those of one device."""

import warnings
from functools import partial
from math import prod

import jax
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from shards import IN_ONE, mesh_of, on_shards

import jaxconv
from jaxconv._parameters import geometry_of
from jaxconv.testing import Problem, disagreement, problems

MESHES = ((2,), (3,), (4,), (8,), (2, 2), (2, 3), (3, 2), (4, 2), (2, 2, 2))
wholes = problems(dtypes=("float64",), empty=False, preferred_element_type=False)


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
