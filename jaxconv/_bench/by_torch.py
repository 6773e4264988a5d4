"""A job done by PyTorch, on the kind of device that JAX uses, in each of its memory formats."""

from math import prod

import numpy as np

from .job import OPERANDS, CannotError, Job, channels_first, operands
from .memory import peak_bytes
from .prepared import Prepared


def device_on(platform: str) -> str | None:
    """PyTorch's name for the devices of JAX's platform, None if it has none of them."""
    if platform not in ("cuda", "rocm"):
        return "cpu" if platform == "cpu" else None
    import torch  # pyright: ignore[reportMissingImports] (optional)

    return "cuda" if torch.cuda.is_available() else None  # which is what it calls both


def prepare(job: Job, device: str | None = "cpu") -> Prepared:
    """As a layer and its backward pass would do it."""
    if device is None:
        raise CannotError("it has no such device here")
    import torch  # pyright: ignore[reportMissingImports] (optional)

    layer, rank = job.layer, len(job.layer.spatial)
    low, high = layer.sides
    uneven = low != high  # PyTorch has no such convolutions: its layers pad first
    borders = [low, high] * rank
    arguments = (
        [layer.up or layer.stride] * rank,
        [0 if uneven else low] * rank,
        [layer.dilation] * rank,
        layer.up > 0,
        [0] * rank,
        layer.groups,
    )
    padded = (layer.images, layer.inputs, *(size + uneven * (low + high) for size in layer.spatial))
    rhs_shape = (layer.outputs, layer.inputs // layer.groups, *[layer.kernel] * rank)
    if layer.up:
        rhs_shape = (layer.inputs, layer.outputs // layer.groups, *rhs_shape[2:])
    dtype = getattr(torch, job.dtype)
    pad, backward = torch.nn.functional.pad, torch.ops.aten.convolution_backward

    def call(data, example_lhs, example_rhs):
        out = convolve(data, example_lhs, example_rhs)
        if device != "cpu":
            torch.cuda.synchronize()  # a call there only starts the work
        return out

    def convolve(data, example_lhs, example_rhs):
        with torch.inference_mode():
            if job.direction == "forward":
                lhs = pad(data["lhs"], borders) if uneven else data["lhs"]
                return torch.convolution(lhs, data["rhs"], None, *arguments)
            if job.direction == "input-grad":
                lhs_grad = backward(data["out"], example_lhs, data["rhs"], None, *arguments, [True, False, False])[0]
                return pad(lhs_grad, [-side for side in borders]) if uneven else lhs_grad
            lhs = pad(data["lhs"], borders) if uneven else data["lhs"]
            return backward(data["out"], lhs, example_rhs, None, *arguments, [False, True, False])[1]

    arrays = {
        name: _transposed(array, job) if name == "rhs" and layer.up else channels_first(name, array)
        for name, array in zip(OPERANDS[job.direction], operands(job), strict=True)
    }
    formats, last = {"contiguous": torch.contiguous_format}, {2: torch.channels_last, 3: torch.channels_last_3d}
    if rank in last:
        formats["channels last"] = last[rank]
    calls = {}
    for variant, memory_format in formats.items():
        data = {
            name: torch.from_numpy(array).to(device, dtype).contiguous(memory_format=memory_format)
            for name, array in arrays.items()
        }
        # The backward pass is told the shape of what it is not given, and reads no more of it.
        examples = [
            torch.empty(shape, dtype=dtype, device=device).contiguous(memory_format=memory_format)
            for shape in (padded, rhs_shape)
        ]
        calls[variant] = lambda data=data, examples=examples: call(data, *examples)
    if device != "cpu":
        torch.backends.cudnn.benchmark = True  # it tries its algorithms, as XLA does
        torch.cuda.reset_peak_memory_stats()
    peak = peak_bytes if device == "cpu" else torch.cuda.max_memory_allocated
    return Prepared(calls, lambda out: out.to("cpu", torch.float64).numpy(), peak=peak)


def _transposed(rhs: np.ndarray, job: Job) -> np.ndarray:
    """rhs HWIO -> the weight of a transposed layer, [inputs, outputs in one group, *taps], with its taps reversed."""
    layer = job.layer
    taps = rhs.shape[:-2]
    flipped = channels_first("rhs", rhs[(slice(None, None, -1),) * len(taps)])
    grouped = flipped.reshape(layer.groups, layer.outputs // layer.groups, layer.inputs // layer.groups, prod(taps))
    return np.ascontiguousarray(grouped.swapaxes(1, 2)).reshape(layer.inputs, layer.outputs // layer.groups, *taps)
