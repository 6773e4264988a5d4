"""One contestant of the race, alone in its process: `python -m jaxconv._demo.contestant NAME` prints JSON."""

import json
import statistics
import sys

import jax
import numpy as np

from .._conv import conv_general_dilated
from .._measure import measure, repeat

IMAGES, KERNEL = (32, 32, 128, 128), (64, 32, 3, 3)  # NCHW, OIHW
SECONDS = 1.0  # of runs, of which there are three at least


def compete(name: str) -> dict:
    """Times of one contestant and a checksum of its result."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in (IMAGES, KERNEL))
    if name == "torch":
        return _torch(x, w)

    def conv(x, w):
        if name == "lax":
            return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID")
        return conv_general_dilated(x, w, (1, 1), "VALID", algorithm=name)

    value, cost = measure(conv, jax.numpy.asarray(x), jax.numpy.asarray(w), seconds=SECONDS)
    return {"times": cost.times, "checksum": _checksum(np.asarray(value))}


def _torch(x: np.ndarray, w: np.ndarray) -> dict:
    import torch  # pyright: ignore[reportMissingImports] (optional)

    with torch.inference_mode():
        best = None
        for layout in (torch.contiguous_format, torch.channels_last):
            image = torch.from_numpy(x).to(memory_format=layout)
            kernel = torch.from_numpy(w).to(memory_format=layout)
            value = torch.conv2d(image, kernel)
            times = repeat(lambda image=image, kernel=kernel: torch.conv2d(image, kernel), SECONDS)
            if best is None or statistics.median(times) < statistics.median(best):
                best = times
    return {"times": best, "checksum": _checksum(value.numpy())}


def _checksum(out: np.ndarray) -> float:
    return float((out.astype(np.float64) ** 2).sum())


if __name__ == "__main__":
    print(json.dumps(compete(sys.argv[1])))
