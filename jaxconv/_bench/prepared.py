"""A job that a backend is ready to run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .memory import peak_bytes


class Prepared(NamedTuple):
    """Ready to run, and what it took.

    Attributes:
      calls: variant -> a call that does the job once, to its end, and returns the result.
      value: the result of a call as an array, axes in any order.
      compile: seconds to trace and compile, None where there is nothing of the kind.
      workspace: bytes that the compiled program needs beside operands and result, None if unknown.
      peak: a function that tells the most bytes in use, where the job runs, since it was prepared; None if unknown.
      flops: variant -> multiplications and additions of one call, where that is what is asked for.
    """

    calls: dict[str, Callable[[], Any]]
    value: Callable[[Any], np.ndarray]
    compile: float | None = None
    workspace: int | None = None
    peak: Callable[[], int | None] = peak_bytes
    flops: dict[str, int] | None = None
