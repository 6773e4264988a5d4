"""Jobs compiled for a TPU that is not there, and what the compiler says of them."""

import os
import re
import time
from functools import cache
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import jaxconv
from jaxconv._bench import by_jax
from jaxconv._bench.job import Job
from jaxconv._measure import workspace_bytes

TOPOLOGY = "v5e:2x2"  # the smallest that there is of this kind; programs are for one of its devices
LOOP = re.compile(r" = .*\bwhile\(")


@cache
def device() -> jax.Device:
    """One that programs can be compiled for.

    Raises:
      ImportError: without the compiler, the package libtpu.
    """
    import libtpu  # noqa: F401  # pyright: ignore[reportMissingImports] (optional)

    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # whether this machine has a TPU does not matter
    return topologies.get_topology_desc(TOPOLOGY, "tpu").devices[0]


def compiled(backend: str, job: Job, max_workspace_bytes: int) -> jax.stages.Compiled:
    """The job by "lax" or by an algorithm, for `device()`. CannotError where the algorithm has no way to do it."""
    there = SingleDeviceSharding(device())
    f, structs = by_jax.function(job)
    with jaxconv.policy(max_workspace_bytes=max_workspace_bytes):
        if backend != "lax":
            f = by_jax.by_algorithm(backend, f, structs)
        placed = [jax.ShapeDtypeStruct(struct.shape, struct.dtype, sharding=there) for struct in structs]
        return jax.jit(f).lower(*placed).compile()


def estimate(backend: str, job: Job, max_workspace_bytes: int) -> dict[str, Any]:
    """What XLA counts and predicts for one call.

    "seconds": its prediction; "flops", "bytes" (to and from memory), "temporaries" (bytes beside operands and result),
    "loops": how many the program has, whose bodies are counted once, however often they run; "compiling": seconds of
    processor time that all of this took.
    """
    start = time.process_time()
    program = compiled(backend, job, max_workspace_bytes)
    costs: Any = program.cost_analysis()
    return {
        "seconds": costs["optimal_seconds"],
        "flops": round(costs["flops"]),
        "bytes": round(costs["bytes accessed"]),
        "temporaries": workspace_bytes(program),
        "loops": len(LOOP.findall(program.as_text() or "")),
        "compiling": round(time.process_time() - start, 2),
    }
