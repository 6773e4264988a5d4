"""What each shard computes, within a program that may send no more than that needs."""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

import jaxconv
from jaxconv._bench.collectives import traffic
from jaxconv._parameters import geometry_of, to_params
from jaxconv._sharding import along, factors, halo, shard

IN_PIECES, IN_ONE = 0, 2**30  # if so many bytes may be taken, and where that can be


def mesh_of(sizes, kind=AxisType.Auto):
    devices = np.array(jax.devices()[: prod(sizes)]).reshape(sizes)
    return Mesh(devices, ("x", "y", "z")[: len(sizes)], axis_types=(kind,) * len(sizes))


def allowed(geometry, axes, mesh):
    """Kind of collective -> how many the rule allows: halos of spatial axes from one shard on each side, or as many as
    they reach over, and the parts of sums added up at once."""
    shards = {factor: prod(mesh.shape[name] for name in names) for factor, names in axes.items()}
    parts = [along.window_of(geometry, factor, count) for factor, count in shards.items() if factor[0] in "pt"]
    return {
        "collective-permute": sum(-(-rows // part.own) for part in parts for rows in (part.left, part.right)),
        "all-reduce": any(factors.is_summed(factor) and count > 1 for factor, count in shards.items()),
    }


def on_shards(mesh, axes, max_bytes):
    """The convolution by `convolve_shard`, of shards that are made equal with NaNs: nothing may depend on these. And
    what it sends. `max_bytes` of 0: in pieces, where that can be, or of one position each. By "xla", in which
    groups that are NaN spoil others, whatever the cost model knows."""

    def convolve(lhs, rhs, **arguments):
        geometry = geometry_of(lhs, rhs, **arguments)
        held = factors.factors_of(geometry)
        asked = [(array, factors.spec_of(array, axes)) for array in (held.out, held.lhs, held.rhs)]
        possible = factors.divide(held, asked, dict(mesh.shape)).axes
        lhs_spec, rhs_spec, out_spec = (
            factors.partition_spec(factors.spec_of(array, possible)) for array in (held.lhs, held.rhs, held.out)
        )

        def with_nans(x, spec):
            shards = [prod(mesh.shape[name] for name in names or ()) for names in spec]
            pads = [(0, -size % count) for size, count in zip(x.shape, shards, strict=True)]
            return jnp.pad(x, pads, constant_values=np.nan)

        local = partial(
            shard.convolve_shard,
            lambda lhs, rhs, params, _: jaxconv.conv_general_dilated(lhs, rhs, **params, algorithm="xla"),
            geometry=geometry,
            params=to_params(geometry),
            axes=possible,
            mesh=dict(mesh.shape),
            max_bytes=max_bytes,
        )
        f = jax.shard_map(local, mesh=mesh, in_specs=(lhs_spec, rhs_spec), out_specs=out_spec, check_vma=False)
        operands = with_nans(lhs, lhs_spec), with_nans(rhs, rhs_spec)
        program = jax.jit(f).lower(*operands).compile()
        most = allowed(geometry, possible, mesh)
        for kind, each in traffic(program.as_text() or "").items():
            assert each.instructions <= most.get(kind, 0), (kind, each, most)
        out = program(*operands)
        return out[tuple(map(slice, geometry.out_layout.shape))]

    return convolve


def of_the_other_side(sent, names, hops, mesh):
    return halo.passed_on(sent, names, -hops, mesh)
