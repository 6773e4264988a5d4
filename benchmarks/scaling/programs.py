"""Training steps compiled for a slice of TPUs that is not there, and what the compiler says of them."""

import time
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import topologies
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

import jaxconv
from benchmarks.ahead_of_time.programs import LOOP, device
from jaxconv._bench.collectives import traffic

from .layouts import KIND, Layout
from .networks import DTYPE, Network, parameters, training_step

AXES = ("data", "rows", "columns")


@cache
def chips(slice_: str, layout: Layout) -> Any:
    """Those of the slice, [data, rows, columns], neighbours in an image being neighbours there.

    Raises:
      ImportError: without the compiler, the package libtpu.
    """
    device()  # what it takes to have one without a TPU
    found = topologies.get_topology_desc(f"{KIND}:{slice_}", "tpu").devices
    (rows, columns), (high, wide) = map(int, slice_.split("x")), layout.space
    grid = np.array(sorted(found, key=lambda chip: chip.coords[::-1]))
    return grid.reshape(rows // high, high, columns // wide, wide).swapaxes(1, 2).reshape(-1, high, wide)


def axis_types(contestant: str) -> tuple[AxisType, ...]:
    """Of the mesh that a contestant's step is for."""
    return (AxisType.Explicit if contestant == "accelerate" else AxisType.Auto,) * len(AXES)


def step(contestant: str, network: Network, where: Mesh | AbstractMesh) -> Any:
    """(params, images, labels) -> (params, loss), jitted for the mesh, which has `axis_types(contestant)`.

    "lax": a program for whole images, which XLA partitions. "accelerate": the same within `jaxconv.accelerate`, under
    explicit axes; under automatic ones it would stay lax's, as XLA for TPUs asks nobody how to partition. "spatial": a
    program for the shards, in `jax.shard_map`, whose convolutions fetch the rows that they need.
    """
    images, none = PartitionSpec(*AXES), PartitionSpec()
    if contestant == "spatial":
        spatial = (*AXES[1:], None)[: network.ndim]
        convolve = partial(jaxconv.conv_general_dilated, spatial_axis_name=spatial)
        taken = training_step(network, convolve, lambda x: lax.pmean(jnp.mean(x), AXES))
        taken = jax.shard_map(taken, mesh=where, in_specs=(none, images, images), out_specs=(none, none))
    else:
        taken = training_step(network, lax.conv_general_dilated, jnp.mean)
        if contestant == "accelerate":
            taken = jaxconv.accelerate(taken)
    whole = NamedSharding(where, none)
    return jax.jit(taken, donate_argnums=0, out_shardings=(whole, whole))


def operands(network: Network, images: int, where: Mesh | AbstractMesh) -> tuple[Any, Any, Any]:
    """Parameters, images and labels, as shapes with shardings."""

    def struct(shape, dtype, *spec):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(where, PartitionSpec(*spec)))

    space = (images, *(network.size,) * network.ndim)
    params = jax.tree.map(lambda leaf: struct(leaf.shape, leaf.dtype), parameters(network))
    return params, struct((*space, network.inputs), DTYPE, *AXES), struct(space, "int32", *AXES)


def compiled(
    contestant: str, network: Network, slice_: str, layout: Layout, effort: float = 0.0
) -> jax.stages.Compiled:
    """The training step, for the slice; `effort`, from -1 to 1, is how hard the compiler tries to make it fast."""
    where = Mesh(chips(slice_, layout), AXES, axis_types=axis_types(contestant))
    lowered = step(contestant, network, where).lower(*operands(network, layout.data, where))
    return lowered.compile(compiler_options={"exec_time_optimization_effort": effort})


def estimate(contestant: str, network: Network, slice_: str, layout: Layout, effort: float = 0.0) -> dict[str, Any]:
    """What XLA counts and predicts for one step on one chip.

    "collectives": kind -> instructions, bytes of their results, bytes sent, as in `jaxconv._bench.collectives`;
    "memory": bytes of arguments, results (those that take the place of arguments left out), temporaries; "seconds":
    its prediction; "flops", "bytes" (to and from memory); "loops": how many the program has, whose bodies are counted
    once; "compiling": seconds of processor time that all of this took.
    """
    start = time.process_time()
    program = compiled(contestant, network, slice_, layout, effort)
    costs: Any = program.cost_analysis()
    memory: Any = program.memory_analysis()
    text = program.as_text() or ""
    return {
        "collectives": {kind: found._asdict() for kind, found in traffic(text).items()},
        "memory": {
            "arguments": memory.argument_size_in_bytes,
            "results": memory.output_size_in_bytes - memory.alias_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
        },
        "seconds": costs["optimal_seconds"],
        "flops": round(costs["flops"]),
        "bytes": round(costs["bytes accessed"]),
        "loops": len(LOOP.findall(text)),
        "compiling": round(time.process_time() - start, 1),
    }
