"""What an algorithm is to the rest of the library."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from ._geometry import Geometry

# Above 32 MiB a buffer of XLA:CPU costs page faults at every call, because glibc maps and unmaps it anew; half of that
# leaves room for the copies that the compiler adds.
MAX_WORKSPACE_BYTES = 16 * 2**20
# Where memory is allocated ahead: no algorithm that was measured on a GPU needed more, and loops cost more there.
OF_DEVICES = 2**30


def default_bound(platform: str) -> int:
    """Bytes of workspace that an algorithm may take in programs for the platform, where nobody said otherwise."""
    return OF_DEVICES if platform in ("cuda", "rocm", "tpu") else MAX_WORKSPACE_BYTES


class Algorithm(NamedTuple):
    """A way to compute any convolution that it does not refuse. Each function takes a bound on workspace as its last
    argument, `max_workspace_bytes`, by default `MAX_WORKSPACE_BYTES`: bytes beside operands and result.

    Attributes:
      convolve: (lhs, rhs, geometry) -> out, all in the caller's layouts.
      unsupported: geometry -> why it cannot be done within the bound, or "" when it can.
      workspace: geometry -> bytes that it estimates it needs, at most the bound.
      turns: geometry -> in how many parts it computes the convolution to need no more than that.
      is_portable: whether programs for other devices, and for other processes to compile, can have it. If not, it is
        for those that this process compiles for its CPU.
      ends_in_xla: whether it hands convolutions, other ones, to XLA, and so can do only what XLA can there.
    """

    convolve: Callable[..., jax.Array]
    unsupported: Callable[..., str]
    workspace: Callable[..., int]
    turns: Callable[..., int]
    is_portable: bool = True
    ends_in_xla: bool = False


def nothing(geometry: Geometry, *bound: int) -> str:
    """Refuses nothing, whatever the bound."""
    return ""


def either(question: Callable[[Geometry], bool], yes: Algorithm, no: Algorithm) -> Algorithm:
    """One of two, as the geometry is."""

    def chosen(geometry: Geometry) -> Algorithm:
        return yes if question(geometry) else no

    def convolve(lhs, rhs, geometry: Geometry, *bound: int) -> jax.Array:
        return chosen(geometry).convolve(lhs, rhs, geometry, *bound)

    def unsupported(geometry: Geometry, *bound: int) -> str:
        return chosen(geometry).unsupported(geometry, *bound)

    def workspace(geometry: Geometry, *bound: int) -> int:
        return chosen(geometry).workspace(geometry, *bound)

    def turns(geometry: Geometry, *bound: int) -> int:
        return chosen(geometry).turns(geometry, *bound)

    return Algorithm(convolve, unsupported, workspace, turns)


def bounded(
    convolve: Callable[..., jax.Array],
    workspace: Callable[..., int],
    turns: Callable[..., int],
    refuses: Callable[[Geometry], str] = nothing,
) -> Algorithm:
    """What does all that `refuses` (geometry -> why not, or "") does not refuse, where its workspace is within the
    bound."""

    def unsupported(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> str:
        if reason := refuses(geometry):
            return reason
        least = workspace(geometry, max_workspace_bytes)
        if least <= max_workspace_bytes:
            return ""
        return f"it needs {least} bytes of workspace at least, and may take {max_workspace_bytes}"

    return Algorithm(convolve, unsupported, workspace, turns)


def once(geometry: Geometry, *bound: int) -> int:
    """All of it in one go."""
    return 1
