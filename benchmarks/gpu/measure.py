"""Times of the algorithms for a convolution, whose programs are compiled side by side.

One process: on a GPU backends do not spoil each other's threads. Programs then take turns; a time is that of calls in a
row, the last of which is waited for, so that what it costs to start one is hidden as it is in a program.
"""

from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

import jax

from jaxconv import conv_general_dilated
from jaxconv._geometry import Geometry
from jaxconv._measure import clocked, workspace_bytes
from jaxconv._parameters import to_params
from jaxconv._sampled import errors_of, random_operands, sampled
from jaxconv._settings import Settings
from jaxconv._trials import candidates

SETTINGS = Settings("fast")
ROUNDS, ROUND_SECONDS, MOST_CALLS = 3, 0.008, 60


def compiled(name: str, geometry: Geometry, operands: Any) -> Any:
    """The program, or what went wrong, in words."""
    arguments = {**to_params(geometry), "algorithm": name, "accuracy": SETTINGS.accuracy}
    try:
        return jax.jit(partial(conv_general_dilated, **arguments)).lower(*operands).compile()
    except jax.errors.JaxRuntimeError as error:
        return f"{error}"[:300]


def begun(geometry: Geometry, asked: set[str], pool: Executor) -> dict[str, Future]:
    """Algorithm -> its program, that is being compiled: of those asked for and lax's own, "xla"."""
    names = [name for name in candidates(geometry, SETTINGS) if name == "xla" or name in asked]
    structs = [
        jax.ShapeDtypeStruct(layout.shape, geometry.dtype) for layout in (geometry.lhs_layout, geometry.rhs_layout)
    ]
    return {name: pool.submit(compiled, name, geometry, structs) for name in names}


def run(program: Any, operands: Any, times: int) -> Any:
    """Calls in a row, and the last result."""
    out = None
    for _ in range(times):
        out = program(*operands)
    return jax.block_until_ready(out)


def measured(geometry: Geometry, programs: dict[str, Any], hopeless: float) -> dict[str, Any]:
    """Algorithm -> seconds, errors and bytes, or what failed. What takes `hopeless` times the fastest first call is
    timed no further."""
    lhs, rhs = random_operands(geometry)
    operands, sample = jax.device_put((lhs, rhs)), sampled(lhs, rhs, geometry)
    failed = {name: program for name, program in programs.items() if isinstance(program, str)}
    programs = {name: program for name, program in programs.items() if name not in failed}
    found = {"failed": failed, "errors": {}, "workspace": {}, "seconds": {}}
    first = {}
    for name, program in programs.items():
        out = run(program, operands, 1)
        found["errors"][name] = float(f"{errors_of(out, sample, geometry).componentwise:.3g}")
        found["workspace"][name] = workspace_bytes(program)
        first[name] = min(clocked(lambda p=program: run(p, operands, 1)) for _ in range(2))
    fast = [name for name, seconds in first.items() if name == "xla" or seconds <= hopeless * min(first.values())]
    for _ in range(ROUNDS):
        for name in fast:
            calls = max(2, min(MOST_CALLS, int(ROUND_SECONDS / first[name]) + 1))
            seconds = clocked(lambda name=name, calls=calls: run(programs[name], operands, calls)) / calls
            found["seconds"][name] = float(f"{min(seconds, found['seconds'].get(name, seconds)):.4g}")
    return found
