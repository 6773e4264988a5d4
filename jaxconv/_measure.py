"""Time and memory of one jitted call, with compiling kept apart from running."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Measurement(NamedTuple):
    """Seconds and bytes. `run` is the median of `times`."""

    compile: float
    run: float
    times: tuple[float, ...]
    workspace: int


def measure(f: Callable, *args: Any, seconds: float = 1.0) -> tuple[Any, Measurement]:
    """The value of `jit(f)(*args)` and its cost: one compile, one warm-up, then at least 3 runs in about `seconds`."""
    start = time.perf_counter()
    compiled = jax.jit(f).lower(*args).compile()
    compile_seconds = time.perf_counter() - start
    value = jax.block_until_ready(compiled(*args))
    times = repeat(lambda: jax.block_until_ready(compiled(*args)), seconds)
    return value, Measurement(compile_seconds, statistics.median(times), times, workspace_bytes(compiled))


def workspace_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes that a compiled program needs beside its operands and results, as the compiler counts them."""
    memory = compiled.memory_analysis()
    if memory is None:
        raise NotImplementedError(f"no memory analysis on {jax.default_backend()}")
    return memory.temp_size_in_bytes


def repeat(call: Callable[[], Any], seconds: float) -> tuple[float, ...]:
    """Seconds of each call, for at least 3 calls and at most 100 in about `seconds`."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 100):
        times.append(clocked(call))
    return tuple(times)


def clocked(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
