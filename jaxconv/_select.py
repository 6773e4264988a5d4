"""Which algorithm computes a convolution, and why."""

from typing import NamedTuple

from . import _cost, _cuda, _machine
from ._accuracy import ACCURACIES
from ._algorithm import MAX_WORKSPACE_BYTES
from ._algorithms import ALGORITHMS
from ._geometry import Geometry
from ._parameters import check_geometry
from ._settings import Request, Settings

EXPORTED_CPU = "cpu, exported"  # a program for a CPU that another process compiles
# What programs are compiled for that a plan holds for, by JAX's name of the device that it was made on.
OF_PLAN = {"cpu": ("cpu", EXPORTED_CPU), "gpu": ("cuda", "rocm"), "tpu": ("tpu",)}
# What XLA for CUDA convolves, by cuDNN. Of integers and of floats of 8 bits it does few sizes, and clips results.
OF_CUDA = {"float16", "bfloat16", "float32", "float64", "complex64", "complex128"}


class Choice(NamedTuple):
    """An algorithm, and in words what made the choice."""

    algorithm: str
    why: str


def choose(request: Request, geometry: Geometry, platform: str, is_partitioned: bool = False) -> Choice:
    """The algorithm asked for, else the plan's, else the cost model's, else "xla", which can do all that lax can.

    A request is made for a convolution and then meets its derivatives and batched forms as well; for one of those that
    it cannot do, falling back is what the caller wants. What XLA partitions among devices (`is_partitioned`) is not of
    the sizes that anything was measured for, and XLA knows how to partition lax's convolution, but for batch groups:
    where channels are shared out, it adds up the wrong ones.

    `platform` is what the program is compiled for: JAX's name of it, "several", or `EXPORTED_CPU`.
    """
    settings = request.settings
    if request.algorithm is not None:
        if reason := cannot(request.algorithm, geometry, settings.bound(platform), platform):
            other = "im2col" if xla_lacks(geometry, platform) else "xla"
            return Choice(other, f"{request.algorithm} was asked for, but {reason}")
        return Choice(request.algorithm, "asked for")
    if is_partitioned and not xla_lacks(geometry, platform):
        if geometry.batch_grouped:
            return Choice("im2col", "XLA would partition it wrongly")
        return Choice("xla", "XLA partitions it")
    return choose_by_plan(geometry, settings, platform) or choose_by_cost(geometry, settings, platform)


def choose_by_plan(geometry: Geometry, settings: Settings, platform: str) -> Choice | None:
    """What the plan says, or else the fastest of those measured that may be taken; None where it knows none of that."""
    plan = settings.plan
    if plan is None or geometry not in plan.convolutions:
        return None
    if platform not in OF_PLAN.get(str(plan.conditions.get("platform")), ()):
        return None  # the program is compiled for another device
    planned, seconds, _ = plan.convolutions[geometry]
    reason = refusal(planned, geometry, settings, platform)
    if not reason:
        return Choice(planned, "plan")
    others = [name for name in seconds if not refusal(name, geometry, settings, platform)]
    best = min(others, key=seconds.__getitem__, default=None)
    return Choice(best, f"the plan's {planned} may not be taken: {reason}") if best else None


def choose_by_cost(geometry: Geometry, settings: Settings, platform: str) -> Choice:
    """By what was measured: the kinds of layers known on a GPU, else predicted times, where there are predictions."""
    if lack := xla_lacks(geometry, platform):
        if reason := refusal("im2col", geometry, settings, platform):
            lack += f"; of im2col, {reason}"
        return Choice("im2col", lack)
    if platform == "cuda" and not geometry.is_symbolic and not geometry.is_empty:
        refused = {name: refusal(name, geometry, settings, platform) for name in _cuda.faster(geometry)}
        for name, reason in refused.items():
            if not reason:
                return Choice(name, "measured to be faster than xla on a GPU")
        if refused:
            name, reason = next(iter(refused.items()))
            return Choice("xla", f"{name} is measured to be faster on a GPU, but {reason}")
    times = predictions(geometry, settings, platform)
    if not times:
        return Choice("xla", "nothing to choose by: not measured")
    if "xla" not in times:
        return Choice("xla", "nothing like it was measured")
    best = _cost.fastest(times, _cost.margin())
    if best == "xla":
        anything = settings._replace(max_workspace_bytes=2**63)
        if [*times] == ["xla"] and len(predictions(geometry, anything, platform)) > 1:
            return Choice("xla", f"all others need more than {settings.bound(platform)} bytes of workspace")
        return Choice("xla", "nothing is predicted to be much faster")
    why = f"predicted to be {times['xla'] / times[best]:.1f} times as fast as xla"
    if (least := min(times, key=times.__getitem__)) != best:
        why += f", as good as {least}, and quick to compile"
    return Choice(best, why)


def xla_lacks(geometry: Geometry, platform: str) -> str:
    """Why lax's own convolution would not compile there, while products of matrices do, or ""."""
    return ALGORITHMS["xla"].unsupported(geometry, MAX_WORKSPACE_BYTES) or _no_such_type(geometry, platform)


def _no_such_type(geometry: Geometry, platform: str) -> str:
    """Why XLA there convolves nothing of its type, or ""."""
    lacks = platform == "cuda" and geometry.dtype not in OF_CUDA and not geometry.is_symbolic
    return f"XLA has no convolution of {geometry.dtype} for CUDA" if lacks else ""


def predictions(geometry: Geometry, settings: Settings, platform: str) -> dict[str, float]:
    """Algorithm -> predicted seconds, of those that may be taken. Only this machine's CPU was measured: for other
    platforms, as for sizes that are symbols or zero, there is no prediction."""
    times: dict[str, float] = {}
    if platform not in ("cpu", EXPORTED_CPU) or geometry.is_symbolic or geometry.is_empty:
        return times
    for name in ALGORITHMS:
        if not refusal(name, geometry, settings, platform) and (seconds := _cost.predict(name, geometry)) is not None:
            times[name] = seconds
    return times


def not_there(name: str, geometry: Geometry, platform: str) -> str:
    """Why programs for the platform cannot have the algorithm, or "". They have lax's own, whatever becomes of it."""
    if not ALGORITHMS[name].is_portable and platform != "cpu":
        return f"it is called by programs that this process compiles for its CPU, and not for {platform}"
    return _no_such_type(geometry, platform) if ALGORITHMS[name].ends_in_xla and name != "xla" else ""


def cannot(name: str, geometry: Geometry, bound: int, platform: str) -> str:
    """Why programs for the platform would not have the algorithm, whoever asked for it, but another one, or ""."""
    return not_there(name, geometry, platform) or ALGORITHMS[name].unsupported(geometry, bound)


def refusal(name: str, geometry: Geometry, settings: Settings, platform: str) -> str:
    """Why the algorithm may not be taken under these settings, or ""."""
    if name == "xla":
        return xla_lacks(geometry, platform)
    if name not in ACCURACIES[settings.accuracy]:
        reason = not_there(name, geometry, platform)
        return reason or f"its error is not within what {settings.accuracy!r} allows"
    bound = settings.bound(platform)
    if reason := cannot(name, geometry, bound, platform):
        return reason
    needed = ALGORITHMS[name].workspace(geometry, bound) if not geometry.is_empty else 0
    return f"it needs {needed} bytes of workspace, and may take {bound}" if needed > bound else ""


def check_request(request: Request, geometry: Geometry | None = None) -> None:
    """ValueError unless the request names an algorithm and that can do the convolution, as the caller wrote it."""
    name = request.algorithm
    if name is None:
        return
    if name not in list(ALGORITHMS):  # lists cannot be hashed
        names = ", ".join(map(repr, ALGORITHMS))
        raise ValueError(f"conv_general_dilated algorithm must be None or one of {names}, got {name!r}")
    if geometry is None:
        return
    check_geometry(geometry)
    if reason := ALGORITHMS[name].unsupported(geometry, request.settings.bound(_machine.platform())):
        raise ValueError(f"conv_general_dilated algorithm {name!r} cannot do this convolution: {reason}; {geometry}")
