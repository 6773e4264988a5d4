"""What oneDNN takes of memory is within what is estimated."""

from pathlib import Path

import pytest
from marks import needs_onednn
from onednn_calls import CHANNELS_LAST, run

from jaxconv._algorithm import MAX_WORKSPACE_BYTES

# name: arguments of (lhs, rhs, groups), each large in its own way
LARGE = {
    "images": ((32, 64, 64, 64), (3, 3, 64, 64), 1),
    "channels": ((2, 16, 16, 1024), (3, 3, 1024, 96), 1),
    "odd channels": ((16, 64, 64, 33), (5, 5, 33, 65), 1),
    "one channel": ((4, 512, 512, 1), (31, 31, 1, 3), 1),
    "depthwise": ((16, 64, 64, 144), (7, 7, 1, 144), 144),
    "groups": ((16, 64, 64, 128), (3, 3, 4, 128), 32),
    "odd groups": ((16, 64, 64, 60), (3, 3, 5, 84), 12),
    "planes": ((1, 4, 64, 64, 128), (3, 3, 3, 128, 32), 1),
}
# Weight gradients of groups are left to others.
CASES = [
    (layer, role) for layer in LARGE for role in ("forward", "weights") if role == "forward" or "groups" not in layer
]
FOR_THREADS = 2**21  # bytes of their stacks, and of oneDNN's buffers for each, which are not estimated


@needs_onednn
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell")
@pytest.mark.parametrize("layer, role", CASES)
def test_memory_as_the_system_sees_it(layer, role):
    """What oneDNN allocates the compiler does not count: the peak of a process beside operands and result.

    Without what the C library keeps of freed memory, for each thread anew: there each array is the system's own.
    """
    numbers = CHANNELS_LAST[len(LARGE[layer][0])]
    code = f"""
import jax, jax.numpy as jnp, jaxconv
from jaxconv._bench.memory import peak_bytes, start_over
shape, taps, groups = {LARGE[layer]!r}
strides = (1,) * (len(shape) - 2)
def f(x, w):
    return jaxconv.conv_general_dilated(
        x, w, strides, "SAME", dimension_numbers={numbers!r}, feature_group_count=groups, algorithm="onednn")
x, w = jnp.ones(shape), jnp.ones(taps)
operands = x, w
if {role!r} == "weights":
    y = jax.eval_shape(f, x, w)
    operands = x, jnp.ones(y.shape)
    f = jaxconv.accelerate(lambda x, y: jax.linear_transpose(lambda w: jax.lax.conv_general_dilated(
        x, w, strides, "SAME", dimension_numbers={numbers!r}, feature_group_count=groups), w)(y)[0], algorithm="onednn")
f = jax.jit(f)
small = [a[:1] for a in operands] if {role!r} == "weights" else [x[:1], w]
f(*small).block_until_ready()  # oneDNN's own code, and its threads
(row,) = jaxconv.explain(f, *operands).rows
compiled = f.lower(*operands).compile()
start_over()
before = peak_bytes()
out = compiled(*operands).block_until_ready()
print(row.algorithm, row.workspace, peak_bytes() - before - out.nbytes)
"""
    used, estimate, peak = run(code, MALLOC_MMAP_THRESHOLD_=str(2**16)).split()
    assert used == "onednn"
    assert int(peak) - FOR_THREADS <= int(estimate) <= MAX_WORKSPACE_BYTES
