"""Memory that the process keeps instead of giving it back, for programs of XLA on a CPU.

XLA there asks the C library for each array, and at each call of a program for all that it needs in between in one
block. By default glibc

    maps blocks of more than 32 MiB by themselves, and unmaps them when they are freed,
    gives back what is free at the end of its heap,
    has for threads other than the first heaps of 64 MiB at most, beyond which it maps blocks, too;

and what comes from the system costs an interrupt for each page of 4 KiB when it is first written to. The first two are
parameters of malloc. For the third, programs are to run on the thread that calls them, mostly the first, whose heap has
no bound: JAX calls that synchronous dispatch.
"""

import ctypes
import platform
from contextlib import suppress

import jax

ASYNCHRONOUS = "jax_cpu_enable_async_dispatch"
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # as malloc.h numbers them
NEVER, NONE = -1, 0


def keep_memory() -> None:
    """Have this process keep the memory that it frees, on a CPU, so that large arrays cost no page faults.

    Call it before JAX computes anything, at the top of the program:

        import jaxconv

        jaxconv.keep_memory()

    What a training step needs between its forward and its backward pass is one large block, which glibc takes from the
    system at every step, and gives back after it. Kept, the steps of six networks take 11 to 63 % less time
    (docs/benchmark-report.md); with lax's convolutions five of them gain as well. In return the process stays as large
    as it has ever been, and may grow somewhat where arrays of many sizes come and go. Two settings of the whole process
    are changed, for good: malloc neither maps large blocks by themselves nor returns any (glibc's `mallopt`), and
    `jax_cpu_enable_async_dispatch` is False: a call of a program returns when that has run. Nothing changes on GPUs and
    TPUs, nor where another malloc than glibc's has been put in its place. Programs called by other threads than the
    first gain less.

    Raises:
      RuntimeError: if JAX has started its devices already, as the first array does, or without glibc: on other
        systems than Linux, and on some Linuxes.
    """
    if platform.libc_ver()[0] != "glibc":
        raise RuntimeError("keep_memory is about glibc's malloc, which this process does not have")
    if jax.config.read(ASYNCHRONOUS) and _has_started():
        raise RuntimeError("keep_memory must be called before JAX starts its devices, right after it is imported")
    jax.config.update(ASYNCHRONOUS, False)
    keep_freed()


def keep_freed() -> None:
    """The part of it that is malloc's."""
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((M_MMAP_MAX, NONE), (M_TRIM_THRESHOLD, NEVER)):
        if not mallopt(parameter, value):
            raise RuntimeError(f"mallopt({parameter}, {value}) failed")


def _has_started() -> bool:
    with suppress(ImportError, AttributeError):  # nothing public tells
        from jax._src import xla_bridge

        return xla_bridge.backends_are_initialized()
    return False
