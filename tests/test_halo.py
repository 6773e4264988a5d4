"""`halo_exchange`: each shard with its neighbours' rows, of every type, and the derivative."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from sharing_out import mesh, random

import jaxconv


@pytest.mark.parametrize("boundary", ["zeros", "circular"])
@pytest.mark.parametrize("names", [("y",), ("x", "y"), ("y", "x")], ids=str)
@pytest.mark.parametrize(("low", "high"), [(1, 2), (0, 0), (5, 0), (3, 19)])
def test_halo_exchange(boundary, names, low, high):
    """Each shard is the slice of the extended whole; its derivative adds up what the copies got."""
    whole, shards = random((16, 2)), 4 if len(names) == 1 else 8
    own = 16 // shards
    extended = np.pad(whole, ((low, high), (0, 0)), "wrap" if boundary == "circular" else "constant")
    expected = np.concatenate([extended[j * own : (j + 1) * own + low + high] for j in range(shards)])

    def exchange(x):
        return jaxconv.halo_exchange(x, names, axis=-2, low=low, high=high, boundary=boundary)

    exchanged = jax.shard_map(exchange, mesh=mesh(), in_specs=P(names), out_specs=P(names))
    np.testing.assert_array_equal(jax.jit(exchanged)(whole), expected)
    weights = random(expected.shape, 1)
    got = jax.jit(jax.grad(lambda x: (weights * exchanged(x)).sum()))(whole)
    copies = np.zeros(extended.shape)
    for j in range(shards):
        copies[j * own : (j + 1) * own + low + high] += weights[j * (own + low + high) : (j + 1) * (own + low + high)]
    totals = np.zeros(whole.shape)
    for row, of in enumerate(copies):
        if boundary == "circular" or 0 <= row - low < 16:
            totals[(row - low) % 16] += of
    np.testing.assert_allclose(got, totals, 1e-12, 1e-12)


@pytest.mark.parametrize("dtype", ["bool", "int8", "bfloat16", "complex64", "float8_e4m3fn"])
def test_halos_of_every_type(dtype):
    whole = (4 * random((8, 3))).astype(dtype)
    exchange = jax.shard_map(
        lambda x: jaxconv.halo_exchange(x, "y", axis=0, low=1, high=0), mesh=mesh(), in_specs=P("y"), out_specs=P("y")
    )
    got = jax.jit(exchange)(whole)
    assert got.dtype == whole.dtype
    expected = np.insert(np.asarray(whole.astype("complex64")), [0, 2, 4, 6], 0, axis=0)
    expected[[3, 6, 9]] = np.asarray(whole.astype("complex64"))[[1, 3, 5]]
    np.testing.assert_array_equal(got.astype("complex64"), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": 2}, "halo_exchange axis must be one of the 2 axes of x, got 2"),
        ({"low": -1}, "halo_exchange low must be 0 or more, got -1"),
        ({"high": -2}, "halo_exchange high must be 0 or more, got -2"),
        ({"boundary": "wrap"}, "halo_exchange boundary must be 'zeros' or 'circular', got 'wrap'"),
    ],
)
def test_errors_of_halo_exchange(arguments, message):
    arguments = {"axis": 0, "low": 1, "high": 1, **arguments}
    exchange = jax.shard_map(
        lambda x: jaxconv.halo_exchange(x, "y", **arguments), mesh=mesh(), in_specs=P("y"), out_specs=P("y")
    )
    with pytest.raises(ValueError, match=message):
        exchange(random((8, 2)))
