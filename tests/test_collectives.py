"""Collectives read in the text of compiled programs."""

import json
import re
import subprocess
import sys

import pytest

from jaxconv._bench.collectives import Collective, Traffic, collectives, shape_bytes, traffic

MODULE = "HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[8]{0})->f32[8]{0}}, num_partitions=4\n"


@pytest.mark.parametrize(
    "shape, expected",
    [
        ("f32[]", 4),
        ("f32[2,3]{1,0}", 24),
        ("bf16[1,66,1,64]{1,3,2,0:T(8,128)(2,1)S(1)}", 66 * 64 * 2),
        ("pred[7]{0}", 7),
        ("s4[3]{0:E(4)}", 2),  # 12 bits
        ("u2[5]", 2),
        ("f4e2m1fn[4]", 2),
        ("f8e4m3b11fnuz[5]", 5),
        ("(s8[3], u16[3], f64[3], c64[3], c128[3])", 3 * (1 + 2 + 8 + 8 + 16)),
        ("((f32[2]{0}, f32[3]{0}), (bf16[2]{0}), token[])", 24),
        ("f32[0,5]", 0),
        ("f32[<=8,2]", 64),
    ],
)
def test_bytes_of_shapes(shape, expected):
    assert shape_bytes(shape) == expected


def test_synchronous():
    hlo = (
        MODULE
        + """
  %all-reduce = bf16[3,3,8,8]{3,2,1,0} all-reduce(%f.53), channel_id=1, replica_groups={{0,1,2,3}}, to_apply=%add
  %ar.1 = (f32[10]{0}, f32[20]{0}, /*index=2*/f32[30]{0}) all-reduce(%a, %b, %c), replica_groups=[2,2]<=[4]
  %all-gather.7 = f32[16,2]{1,0} all-gather(f32[4,2]{1,0} %p), replica_groups=[1,4]<=[2,2]T(1,0), dimensions={0}
  ROOT %reduce-scatter = f32[4]{0} reduce-scatter(%p), replica_groups={}, dimensions={0}, to_apply=%add
  %all-to-all.2 = (s8[8]{0}, s8[8]{0}) all-to-all(%p, %q), replica_groups={{0,1},{2,3}}
  %cb = f32[5]{0} collective-broadcast(%p), replica_groups={{2,0},{1,3}}
"""
    )
    assert traffic(hlo) == {
        "all-gather": Traffic(1, 128, 96),
        "all-reduce": Traffic(2, 1152 + 240, 1152 * 3 // 2 + 240),
        "all-to-all": Traffic(1, 16, 8),
        "collective-broadcast": Traffic(1, 20, 20),
        "reduce-scatter": Traffic(1, 16, 48),
    }
    assert collectives(hlo)[0] == Collective("all-reduce", 1152, 4)


def test_asynchronous_ones_count_once_and_without_their_operands():
    hlo = (
        MODULE
        + """
  %cps = (bf16[1,9]{1,0}, bf16[1,9]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%g), channel_id=1, \
source_target_pairs={{0,2},{1,3}}, metadata={op_name="jit(f)/all-reduce(x) = "}
  %cpd = bf16[1,9]{1,0} collective-permute-done(%cps), metadata={op_name="jit(f)/conv"}
  %ags = (f32[4], f32[16]) all-gather-start(%x), replica_groups={{0,1,2,3}}, dimensions={0}
  %ars = f32[6] all-reduce-start(%x), replica_groups={{0,1},{2,3}}, to_apply=%add
  %agd = f32[16] all-gather-done((f32[4], f32[16]) %ags)
  ROOT %ard = f32[6] all-reduce-done(%ars)
"""
    )
    assert traffic(hlo) == {
        "all-gather": Traffic(1, 64, 48),
        "all-reduce": Traffic(1, 24, 24),
        "collective-permute": Traffic(1, 18, 18),
    }


def test_generic_asynchronous_ones_count_where_they_are_wrapped():
    hlo = (
        MODULE
        + """
%wrapped (p: f32[8]) -> f32[2] {
  %p = f32[8]{0} parameter(0)
  ROOT %rs = f32[2]{0} reduce-scatter(%p), replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%add
}
  %s = ((f32[8]{0}), f32[2]{0}, u32[]) async-start(%x), calls=%wrapped
  %d = f32[2]{0} async-done(%s)
"""
    )
    assert traffic(hlo) == {"reduce-scatter": Traffic(1, 8, 24)}


def test_the_device_that_sends_most():
    """Of 3 in a row the middle one sends both ways, the others one way; to itself is not sent."""
    hlo = (
        MODULE
        + """
  %a = f32[2]{0} collective-permute(%x), source_target_pairs={{0,1},{1,2}}
  %b = f32[2]{0} collective-permute(%x), source_target_pairs={{2,1},{1,0}}
  %c = f32[100]{0} collective-permute(%x), source_target_pairs={{1,1},{0,0}}
  %d = f32[3]{0} collective-permute(%x), source_target_pairs={{2,0}}
"""
    )
    assert traffic(hlo)["collective-permute"] == Traffic(4, 428, 8 + 12)  # device 2
    assert [one.sources for one in collectives(hlo)] == [(0, 1), (2, 1), (), (2,)]


@pytest.mark.parametrize(
    "axes, participants",
    [("{'x'}", 4), ("{'y','x'}", 24), ("{'x':(2)2}", 2), ("{'y', 'x':(1)2}", 12), ("{}", 1)],
)
def test_groups_along_axes_of_a_mesh(axes, participants):
    line = f"%a = f32[6] all-reduce(%x), replica_groups=mesh['x'=4,'y'=6] {axes}, to_apply=%add"
    assert collectives(MODULE + line)[0].participants == participants
    spaced = re.sub("'(.)'", r"'axis \1'", line)
    assert collectives(MODULE + spaced)[0].participants == participants


def test_alone():
    hlo = "HloModule f\n  %a = f32[2]{0} all-reduce(%x), replica_groups={}, to_apply=%add\n"
    assert traffic(hlo) == {"all-reduce": Traffic(1, 8, 0)}


def test_what_is_none():
    hlo = (
        MODULE
        + """
  %f = f32[2]{0} fusion(%x), kind=kLoop, calls=%c, metadata={op_name="an = f32[2] all-reduce(x)"}
  %all-reduce.1 = f32[2]{0} add(%all-reduce, %y)
  %partition-id = u32[] partition-id()
"""
    )
    assert traffic(hlo) == {}


@pytest.mark.parametrize(
    "line, words",
    [
        ("%a = f32[2] all-reduce(%x), replica_groups=elsewhere", "replica_groups written in an unknown way"),
        ("%a = f32[2] collective-permute(%x), channel_id=1", "without source_target_pairs"),
        ("%a = (f32[2], f32[2]) all-gather-start(%x), replica_groups={{0,1}}", "starts and is never done"),
    ],
)
def test_what_is_not_understood_is_said(line, words):
    with pytest.raises(ValueError, match=words):
        traffic(MODULE + line)


PROGRAM = """
import json
import jax, jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P
from jaxconv._bench.collectives import traffic

mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))

def each(x):  # [2, 4]
    gathered = lax.all_gather(x, "x", tiled=True)
    parts = lax.psum_scatter(gathered, "x", tiled=True)
    turned = lax.all_to_all(x, "x", 1, 0, tiled=True)
    shifted = lax.ppermute(x, "x", [(0, 1), (1, 2), (2, 3)])
    return jnp.sin(parts) + jnp.sin(turned).reshape(2, 4) + shifted + lax.psum(jnp.cos(x), "x")

f = jax.shard_map(each, mesh=mesh, in_specs=P("x"), out_specs=P("x"), check_vma=False)
found = traffic(jax.jit(f).lower(jax.ShapeDtypeStruct((8, 4), "float32")).compile().as_text())
print(json.dumps(found))
"""


def test_a_program_of_xla():
    """All kinds that JAX makes, as this version of XLA writes them: 2x4 of float32, 32 bytes, on each of 4 devices."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    code = f"import os; os.environ.update({flags})\n{PROGRAM}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "all-gather": [1, 128, 96],
        "all-reduce": [1, 32, 48],
        "all-to-all": [1, 32, 24],
        "collective-permute": [1, 32, 32],
        "reduce-scatter": [1, 32, 96],
    }
