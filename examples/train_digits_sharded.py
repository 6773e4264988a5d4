"""Train a small network on handwritten digits with many processes, each with some images and some rows of pixels.

The devices of all processes form a mesh ("data", "space"). Each has some of the images of a batch and some of the rows
of each; the parameters are on all of them. jaxconv shares the convolutions out accordingly: a device sends its
neighbours the rows that they need, and nothing else of the images. Whatever the mesh, the losses are those of one
device.

Needs `pip install '.[demo]'`, and on each machine the JAX for its devices. The same program runs

- as one process, on all devices that it sees (`--cpu-devices`: so many virtual ones)::

    python examples/train_digits_sharded.py
    python examples/train_digits_sharded.py --cpu-devices 4 --mesh 2x2

- as several processes, started by hand on one machine or, with its name for localhost, on several::

    for id in 0 1 2 3; do
      python examples/train_digits_sharded.py --mesh 2x2 --coordinator localhost:7711 --processes 4 --process-id $id &
    done; wait

- under Slurm, here with a process for each of 2 x 4 GPUs; each process must see all GPUs of its node::

    srun --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 python examples/train_digits_sharded.py --mesh 4x2

- on a TPU pod, with a process for each host::

    gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
      --command="cd jaxconv && python examples/train_digits_sharded.py --mesh 8x4"

Slurm and TPU pods need none of `--coordinator`, `--processes` and `--process-id`: `jax.distributed.initialize` reads

- of Slurm: SLURM_JOB_ID (the port), SLURM_STEP_NODELIST (its first host is the coordinator's), SLURM_NTASKS,
  SLURM_PROCID and SLURM_LOCALID (which GPU);
- of a TPU pod: its metadata server, unless TPU_SKIP_MDS_QUERY is set. On GKE TPU_WORKER_HOSTNAMES (or
  TPU_PROCESS_ADDRESSES) and TPU_WORKER_ID; of several slices MEGASCALE_COORDINATOR_ADDRESS, MEGASCALE_NUM_SLICES and
  MEGASCALE_SLICE_ID;
- anywhere: JAX_COORDINATOR_ADDRESS (what `--coordinator` says), JAX_COORDINATOR_PORT (instead of the port that is
  found), JAX_COORDINATOR_BIND_ADDRESS (where process 0 listens, if not at every address), JAX_LOCAL_DEVICE_IDS (the
  GPUs of a process, such as 0,1) and JAX_PLATFORMS (cpu: leave the accelerators alone).

Where a process dies, the others end with an error: at once and with exit code 1 where connections to it break; where
nothing more is heard of it, after `--heartbeat-seconds`, aborted by JAX. SIGTERM, by which schedulers announce the end,
stops all processes after the same step, with exit code 143.
"""

import argparse
import json
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

from jaxconv import nn

RATE, MOMENTUM, HELD_OUT = 0.05, 0.9, 450
TERMINATED = 128 + 15  # the exit code of what SIGTERM ends


def positive(text: str) -> int:
    """The number, which argparse asks for by this function's name where it is none."""
    if int(text) < 1:
        raise ValueError
    return int(text)


parser = argparse.ArgumentParser(
    description="Train a small network on handwritten digits with many processes. More in the file's docstring."
)
number = {"type": positive, "metavar": "N"}
parser.add_argument("--mesh", metavar="DxS", help="devices that share out images x rows (default: all devices x 1)")
parser.add_argument("--steps", **number, default=210, help="of gradient descent (default: %(default)s)")
parser.add_argument("--batch", **number, default=64, help="images of a step, of all processes (default: %(default)s)")
parser.add_argument("--seed", type=int, default=0, help="of parameters and order (default: %(default)s)")
parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(default: %(default)s)")
parser.add_argument("--log-every", **number, default=10, help="steps between printed losses (default: %(default)s)")
parser.add_argument("--losses", type=Path, metavar="FILE", help="losses and accuracy as JSON, written by process 0")
parser.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
parser.add_argument("--processes", **number, help="how many there are; 1: alone, even on a cluster")
parser.add_argument("--process-id", type=int, metavar="N", help="which one this is, from 0")
parser.add_argument("--cpu-devices", **number, help="virtual devices of each process, on the CPU")
parser.add_argument(
    "--heartbeat-seconds",
    **number,
    default=100,
    help="silence after which a process counts as dead (default: %(default)s)",
)
parser.add_argument(
    "--start-seconds", **number, default=300, help="to wait for all processes to start (default: %(default)s)"
)


def join(options: argparse.Namespace) -> None:
    """Meets the other processes, if there are any."""
    jax.config.update("jax_enable_x64", options.dtype == "float64")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if options.cpu_devices is not None:
        jax.config.update("jax_num_cpu_devices", options.cpu_devices)
    given = options.coordinator, options.processes, options.process_id
    if options.processes == 1:
        return
    try:
        jax.distributed.initialize(
            *given,
            initialization_timeout=options.start_seconds,
            heartbeat_timeout_seconds=options.heartbeat_seconds,
            shutdown_timeout_seconds=options.heartbeat_seconds,
        )
    except ValueError as error:
        if given != (None, None, None) or "JAX_COORDINATOR_ADDRESS" in os.environ:
            parser.error(f"--coordinator, --processes and --process-id are {given}: {error}")
        print("JAX finds no cluster here: this is one process")


def make_mesh(options: argparse.Namespace) -> Mesh:
    """All devices of all processes."""
    devices = jax.device_count()
    try:
        data, space = map(int, options.mesh.split("x")) if options.mesh else (devices, 1)
    except ValueError:
        parser.error(f"--mesh must be two numbers such as 4x2, got {options.mesh}")
    if min(data, space) < 1 or data * space != devices:
        parser.error(
            f"--mesh {data}x{space} is for {data * space} devices, and there are {devices}, "
            f"{jax.local_device_count()} of them in this process, of {jax.process_count()} processes"
        )
    if options.batch % data:
        parser.error(f"--batch {options.batch} cannot be shared out evenly over the {data} of --mesh {data}x{space}")
    if 8 % space:
        parser.error(f"the 8 rows of a digit cannot be shared out evenly over the {space} of --mesh {data}x{space}")
    return jax.make_mesh((data, space), ("data", "space"), axis_types=(AxisType.Auto, AxisType.Auto))


class Shared:
    """Batches of which each process keeps the part that its devices need.

    Attributes:
      part: [batches, *this process's part of one].
      shape: of one whole batch.
      sharding: of one batch.
    """

    def __init__(self, array: np.ndarray, mesh: Mesh, axes: tuple[str, ...]):
        """array: [batches, *shape], whose axes from the second on are split over these of the mesh.

        All digits come in one file. Of data in a file an image, these would be the ones to open.
        """
        self.shape = array.shape[1:]
        self.sharding = NamedSharding(mesh, PartitionSpec(*axes))
        where = self.sharding.devices_indices_map(self.shape)
        self.part = array
        for axis, size in enumerate(self.shape):
            held = {i for device in mesh.local_devices for i in range(size)[where[device][axis]]}
            self.part = self.part.take(sorted(held), axis + 1)

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, batch: int) -> jax.Array:
        """One whole batch, on all devices."""
        return jax.make_array_from_process_local_data(self.sharding, self.part[batch], self.shape)


def load(mesh: Mesh, options: argparse.Namespace) -> Iterator[tuple[Shared, Shared]]:
    """Images [N, 8, 8, 1] and labels [N] in batches, to learn from and held out; a label of -1 is of no image."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(options.seed).permutation(len(images))
    images = (images[order].reshape(-1, 8, 8, 1) / 16).astype(options.dtype)
    labels = labels[order].astype(np.int32)
    learned = (len(images) - HELD_OUT) // options.batch * options.batch
    if not learned:
        parser.error(f"--batch {options.batch} is more than the {len(images) - HELD_OUT} digits to learn from")
    missing = -HELD_OUT % options.batch
    held_out = np.pad(images[-HELD_OUT:], [(0, missing), (0, 0), (0, 0), (0, 0)])
    held_out_labels = np.pad(labels[-HELD_OUT:], (0, missing), constant_values=-1)
    for x, y in (images[:learned], labels[:learned]), (held_out, held_out_labels):
        x, y = x.reshape(-1, options.batch, *x.shape[1:]), y.reshape(-1, options.batch)
        yield Shared(x, mesh, ("data", "space")), Shared(y, mesh, ("data",))


def init(key: jax.Array, dtype: str) -> dict:
    """Two convolutions and a classifier."""
    first, second, dense = jax.random.split(key, 3)
    return {
        "conv1": nn.Conv.init(first, 1, 16, (3, 3), dtype=dtype),
        "conv2": nn.Conv.init(second, 16, 32, (3, 3), stride=2, dtype=dtype),
        "dense": jax.random.normal(dense, (4, 4, 32, 10), dtype) / np.sqrt(4 * 4 * 32),
    }


def logits(params: dict, images: jax.Array) -> jax.Array:
    """images [N, 8, 8, 1] -> [N, 10]."""
    x = jax.nn.relu(params["conv1"](images))
    x = jax.nn.relu(params["conv2"](x))
    return jnp.einsum("nhwc,hwco->no", x, params["dense"])


def loss(params: dict, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy, the mean of the whole batch."""
    scores = jax.nn.log_softmax(logits(params, images))
    return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()


def step(params: dict, velocity: dict, images: jax.Array, labels: jax.Array) -> tuple[dict, dict, jax.Array]:
    """One step of gradient descent with momentum. XLA adds up the gradients of all devices."""
    value, gradient = jax.value_and_grad(loss)(params, images, labels)
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, velocity, gradient)
    return jax.tree.map(jnp.add, params, velocity), velocity, value


def right(params: dict, images: jax.Array, labels: jax.Array) -> jax.Array:
    """How many are recognised."""
    return (logits(params, images).argmax(1) == labels).sum()


def by(shape: tuple[int, ...]) -> str:
    """A shape as it is read."""
    return "x".join(map(str, shape))


def save(losses: list[float], accuracy: float | None, options: argparse.Namespace) -> None:
    """Whoever reads the file has all of it."""
    if options.losses and jax.process_index() == 0:
        unfinished = options.losses.with_name(f"{options.losses.name}.part")
        unfinished.write_text(json.dumps({"losses": losses, "accuracy": accuracy}) + "\n")
        os.replace(unfinished, options.losses)


def train(mesh: Mesh, options: argparse.Namespace) -> int:
    """Exit code."""
    say = print if jax.process_index() == 0 else lambda *args, **kwargs: None
    (images, labels), (held_out, held_out_labels) = load(mesh, options)
    print(
        f"process {jax.process_index()} of {jax.process_count()} on {socket.gethostname()}: "
        f"{', '.join(map(str, jax.local_devices()))}; keeps {by(images.part.shape)} pixels "
        f"of the {by((len(images), *images.shape))} to learn from",
        flush=True,
    )
    say(f"mesh {by(mesh.devices.shape)}: {len(images)} batches of {options.batch}, {HELD_OUT} digits held out")

    everywhere = NamedSharding(mesh, PartitionSpec())
    sharded = images.sharding, labels.sharding
    params = jax.jit(lambda: init(jax.random.key(options.seed), options.dtype), out_shardings=everywhere)()
    velocity = jax.tree.map(jnp.zeros_like, params)
    jitted_step = jax.jit(step, in_shardings=(everywhere, everywhere, *sharded), out_shardings=everywhere)
    jitted_right = jax.jit(right, in_shardings=(everywhere, *sharded), out_shardings=everywhere)

    losses = []
    for t in range(options.steps):
        batch = t % len(images)
        params, velocity, value = jitted_step(params, velocity, images[batch], labels[batch])
        losses.append(float(value))
        if t % options.log_every == 0 or t == options.steps - 1:
            say(f"step {t}: loss {losses[-1]:.4f}", flush=True)
        if multihost_utils.reached_preemption_sync_point(t):  # they agree on a step: a program of one's own saves here
            say(f"SIGTERM: all processes stop after step {t}", flush=True)
            save(losses, None, options)
            return TERMINATED
    count = sum(int(jitted_right(params, held_out[i], held_out_labels[i])) for i in range(len(held_out)))
    say(f"held-out accuracy {count / HELD_OUT:.1%}", flush=True)
    save(losses, count / HELD_OUT, options)
    return 0


def main() -> int:
    """Exit code."""
    options = parser.parse_args()
    try:
        join(options)
        code = train(make_mesh(options), options)
        jax.distributed.shutdown()
        return code
    except (Exception, KeyboardInterrupt) as error:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        if isinstance(error, jax.errors.JaxRuntimeError):
            reason = str(error).partition("\n")[0]
            print(f"Most likely another process died, see what it or the scheduler says: {reason}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # the usual exit waits for all processes, dead ones included


if __name__ == "__main__":
    sys.exit(main())
