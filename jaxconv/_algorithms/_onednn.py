"""oneDNN, Intel's library of kernels for processors: jaxlib for x86 has it built in, and XLA calls it by name.

Nothing of that is promised. So the call (`_onednn_call`) is made only with versions of jaxlib that it was tried with,
on processors it is for, and after a small convolution has come out right; and only for what oneDNN is sure to take,
since what it does not take ends the process. Wherever that is not so, in programs for other platforms and in exported
ones, the primitive here is what its caller gives for that.
"""

import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import mlir

from .._geometry import Geometry, dilated
from .._layout import channels_last
from .._machine import processor_flags, version
from .._parameters import geometry_of
from . import xla
from ._onednn_call import call, dilation, is_depthwise

TRIED = ("0.10", "0.11", "0.12")  # versions of jaxlib, by their first two numbers
TYPES = {"float32": ("float32",), "bfloat16": ("bfloat16", "float32")}  # of the operands -> of the result
LEAST_FLAG = "avx2"  # with less oneDNN has few kernels
ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # tell oneDNN to do without some of what the processor has
ENOUGH = ("AVX2", "AVX512", "AVX10", "ALL", "DEFAULT")  # how values of these begin that leave it enough
BFLOAT16_FLAGS = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}  # without which oneDNN has no such convolution
MAX_RANK = 3

onednn_p = Primitive("jaxconv_onednn")


def refuses(geometry: Geometry) -> str:
    """Why oneDNN cannot be given this convolution, or ""."""
    g = geometry
    if not 1 <= g.ndim <= MAX_RANK:
        return f"it is for 1 to {MAX_RANK} spatial axes, and there are {g.ndim}"
    if g.out_dtype not in TYPES.get(g.dtype, ()):
        return f"it has no convolution of {g.dtype} to {g.out_dtype}"
    if g.dtype == "bfloat16" and not has_bfloat16():
        return "its convolutions of bfloat16 are for processors with AVX-512"
    if g.is_empty:
        return "there is nothing to add up"
    if reason := lacks_kernel(geometry):
        return reason
    if max(g.lhs_dilation) > 1:
        return f"lhs_dilation must be 1, and is {g.lhs_dilation}"
    if any(size <= max(-low, 0) + max(-high, 0) for size, (low, high) in zip(g.spatial, g.padding, strict=True)):
        return f"padding {g.padding} crops all that there is"
    return lack()  # last: the first answer takes compiling


def lacks_kernel(geometry: Geometry) -> str:
    """Why oneDNN would not compute it by one of its good kernels, or "".

    Found by trying thousands (`tests/onednn_kernels.py`, jaxlib 0.10.2, 0.12.0.1). What it falls back on, products of
    matrices in parallel within a parallel loop, may wait for ever for XLA's threads; other kernels end the process.
    """
    g = geometry
    strided, spread = max(g.strides) > 1, max(dilation(g)) > 1
    if g.groups > 1 and g.dtype != "float32":
        return f"its convolutions of {g.dtype} are of one group"
    sides = zip(g.padding, g.kernel, g.rhs_dilation, strict=True)
    if g.dtype == "bfloat16" and any(max(pair) >= dilated(taps, gap) for pair, taps, gap in sides):
        return f"of bfloat16 it takes no results of padding alone, and padding is {g.padding}"
    if is_depthwise(g) and spread:
        return f"its depthwise convolutions are not dilated, and this is by {g.rhs_dilation}"
    if g.in_channels == 1 and strided and spread:
        return "with one input channel it does not take strides and dilation at once"
    return ""


@cache
def has_bfloat16() -> bool:
    """Whether oneDNN has kernels of it for this processor and has not been told to do without."""
    return not {*ISA_VARIABLES} & {*os.environ} and processor_flags() >= BFLOAT16_FLAGS


def lack() -> str:
    """Why oneDNN is not to be had in this process, or ""."""
    config: Any = jax.config
    if config.jax_compilation_cache_dir is not None and config.jax_enable_compilation_cache:
        # JAX would warn of each program, or raise: jaxlib runs out of memory where it is to store such a call.
        return "programs that call oneDNN cannot be stored, and JAX's compilation cache is on"
    return tried()


@cache
def tried() -> str:
    """Why it is not to be had, whatever is stored, or ""."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"jaxlib has oneDNN for x86 processors, and this one is {platform.machine()}"
    told = [f"{name}={os.environ[name]}" for name in ISA_VARIABLES if name in os.environ]
    if any(not setting.partition("=")[2].upper().startswith(ENOUGH) for setting in told):
        return f"oneDNN is told to do without AVX2: {', '.join(told)}"
    if processor_flags() and LEAST_FLAG not in processor_flags():
        return "oneDNN's kernels are for processors with AVX2, and this one has none"
    jaxlib = version("jaxlib") or "unknown"
    if ".".join(jaxlib.split(".")[:2]) not in TRIED:
        return f"oneDNN was tried with jaxlib {', '.join(TRIED)}, and this is {jaxlib}"
    with ThreadPoolExecutor(1) as fresh:  # whose JAX knows nothing of the traces and contexts of this thread
        return fresh.submit(_try).result()


def _try() -> str:
    """A small convolution, all of whose numbers are small integers. The reason why it failed, or ""."""
    shapes = (1, 4, 3, 2), (2, 1, 2, 3)
    lhs, rhs = (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 5 for shape in shapes)
    padded = np.pad(lhs, ((0, 0), (1, 2), (0, 0), (0, 0)))
    rows = [padded[:, tap : tap + 6 : 2] for tap in (0, 2)]  # stride 2, dilation 2
    want = sum((np.einsum("nhwc,co->nhwo", row, rhs[tap, 0]) for tap, row in enumerate(rows)), np.float32(0))
    try:
        geometry = geometry_of(lhs, rhs, (2, 1), ((1, 2), (0, 0)), None, (2, 1), channels_last(2))
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            got = jax.jit(partial(call, geometry=geometry)).lower(lhs, rhs).compile()(lhs, rhs)
    except Exception as error:  # whatever XLA says of a name it does not know
        return f"XLA does not run oneDNN here: {(str(error) or repr(error)).splitlines()[0]:.200}"
    return "" if np.array_equal(got, want) else "XLA ran oneDNN and the result was wrong"


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, otherwise: Callable[..., jax.Array] = xla.convolve
) -> jax.Array:
    """By oneDNN where that can be and takes it.

    Args:
      lhs, rhs: in the layouts of the geometry. Of lhs and of the result channels are last; there are no batch groups.
      geometry: the convolution.
      otherwise: (lhs, rhs, geometry) -> out, everywhere else.
    """
    return onednn_p.bind(lhs, rhs, geometry=geometry, otherwise=otherwise)


@onednn_p.def_abstract_eval
def _abstract(lhs, rhs, *, geometry, otherwise):
    return ShapedArray(geometry.out_layout.shape, jnp.dtype(geometry.out_dtype))


def _lower_otherwise(context, lhs, rhs, *, geometry, otherwise):
    return mlir.lower_fun(partial(otherwise, geometry=geometry), multiple_results=False)(context, lhs, rhs)


def _lower(context, lhs, rhs, *, geometry, otherwise):
    # JAX exports no custom call that XLA does not promise to keep.
    is_for_others = context.module_context.lowering_parameters.for_export or refuses(geometry)
    return _lower_otherwise(context, lhs, rhs, geometry=geometry, otherwise=otherwise if is_for_others else call)


mlir.register_lowering(onednn_p, _lower_otherwise)
mlir.register_lowering(onednn_p, _lower, platform="cpu")
