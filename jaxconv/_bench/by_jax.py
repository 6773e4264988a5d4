"""A job done by lax, or by one of our algorithms."""

import time
from collections.abc import Callable
from functools import cache
from math import prod

import jax
import numpy as np
from jax import lax

from .._collect import convolutions
from .._conv import accelerate
from .._geometry import Geometry
from .._machine import platform
from .._measure import workspace_bytes
from .._parameters import from_params
from .._select import cannot
from .job import OPERANDS, CannotError, Job, channels_first, operands
from .memory import peak_on
from .prepared import Prepared


def function(job: Job) -> tuple[Callable, list[jax.ShapeDtypeStruct]]:
    """lax's function of the two operands of the job's direction, and their shapes."""

    def conv(lhs, rhs):
        return lax.conv_general_dilated(lhs, rhs, **job.layer.arguments(job.layout))

    lhs, rhs = (jax.ShapeDtypeStruct(shape, job.dtype) for shape in job.layer.shapes(job.layout))
    return in_direction(job.direction, conv, lhs, rhs)


def geometry(job: Job) -> Geometry:
    """Of the job's one convolution."""
    f, structs = function(job)
    [found] = convolutions(f, *structs)
    return found.geometry


def in_direction(
    direction: str, conv: Callable, lhs: jax.ShapeDtypeStruct, rhs: jax.ShapeDtypeStruct
) -> tuple[Callable, list[jax.ShapeDtypeStruct]]:
    """`conv`, a bilinear function of `lhs` and `rhs`, or one of its transposes: of two operands, and their shapes."""

    def input_grad(out, rhs):
        return jax.linear_transpose(lambda lhs: conv(lhs, rhs), lhs)(out)[0]

    def weight_grad(lhs, out):
        return jax.linear_transpose(lambda rhs: conv(lhs, rhs), rhs)(out)[0]

    structs = {"lhs": lhs, "rhs": rhs, "out": jax.eval_shape(conv, lhs, rhs)}
    chosen = {"forward": conv, "input-grad": input_grad, "weight-grad": weight_grad}[direction]
    return chosen, [structs[name] for name in OPERANDS[direction]]


def by_algorithm(name: str, f: Callable, structs: list[jax.ShapeDtypeStruct]) -> Callable:
    """`f` with its convolution done by the named algorithm. CannotError where that would fall back to another one."""
    replaced = accelerate(f, algorithm=name)
    equations = [eqn for eqn in jax.make_jaxpr(replaced)(*structs).eqns if eqn.primitive.name == "jaxconv"]
    assert len(equations) == 1 and equations[0].params["request"].algorithm == name
    lhs, rhs = (var.aval for var in equations[0].invars)
    params, here = equations[0].params, platform()
    if reason := cannot(name, from_params(lhs, rhs, params), params["request"].settings.bound(here), here):
        raise CannotError(reason)
    return replaced


@cache
def start_up() -> None:
    """What the first compilation in a process costs beside compiling is no algorithm's fault."""
    jax.block_until_ready(jax.jit(lambda x: x @ x)(jax.numpy.ones((8, 8))))


def prepare(backend: str, job: Job) -> Prepared:
    """Compiled, with operands where they are to be."""
    start_up()
    jax.config.update("jax_enable_x64", job.dtype == "float64")
    f, structs = function(job)
    if backend != "lax":
        f = by_algorithm(backend, f, structs)
    start = time.perf_counter()  # what was traced above, to ask, is traced again
    compiled = jax.jit(f).lower(*structs).compile()
    seconds = time.perf_counter() - start
    try:
        workspace = workspace_bytes(compiled)
    except NotImplementedError:  # the device's compiler does not count: the report has a gap there
        workspace = None
    peak, arrays = peak_on(jax.devices()[0]), operands(job)
    if job.layout == "NCHW":
        arrays = [channels_first(*pair) for pair in zip(OPERANDS[job.direction], arrays, strict=True)]
    first, second = (jax.numpy.asarray(array, job.dtype) for array in arrays)
    return Prepared({"": lambda: jax.block_until_ready(compiled(first, second))}, np.asarray, seconds, workspace, peak)


PRODUCTS = ((2048, 2048, 2048), (4096, 576, 256))  # m, k, n: square, and as im2col makes them


@cache
def products(dtype: str) -> Prepared:
    """Matrix products of PRODUCTS' sizes: what the machine can do."""
    jax.config.update("jax_enable_x64", dtype == "float64")
    rng = np.random.default_rng(0)
    calls, flops = {}, {}
    for m, k, n in PRODUCTS:
        left, right = (jax.numpy.asarray(rng.standard_normal(shape), dtype) for shape in ((m, k), (k, n)))
        compiled = jax.jit(jax.numpy.matmul).lower(left, right).compile()

        def call(compiled=compiled, left=left, right=right):
            return jax.block_until_ready(compiled(left, right))

        calls[f"{m}x{k}x{n}"], flops[f"{m}x{k}x{n}"] = call, 2 * m * k * n
    return Prepared(calls, np.asarray, flops=flops)


def elementwise(job: Job) -> Prepared:
    """One added to each element of an array: that reads and writes as much as the job's operands and result are."""
    jax.config.update("jax_enable_x64", job.dtype == "float64")
    elements = sum(map(prod, (*job.layer.shapes(), job.layer.out_shape())))
    array = jax.numpy.ones(elements // 2, job.dtype)
    compiled = jax.jit(lambda x: x + 1).lower(array).compile()
    return Prepared({"": lambda: jax.block_until_ready(compiled(array))}, np.asarray)
