"""The compiler in a process of its own, which it may end: `python -m benchmarks.ahead_of_time.worker`.

Reads one JSON object a line and answers each with one:

    {"do": "compile", "job": {...}, "backend": name, "bound": bytes}   `programs.estimate`, or {"cannot": reason}

and {"error": message} to whatever went wrong. It ends where its input ends.
"""

from typing import Any

import jax

from jaxconv._bench.job import Job
from jaxconv._bench.worker import serve

from .programs import estimate


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """To one question."""
    return estimate(message["backend"], Job.from_json(message["job"]), message["bound"])


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # nothing is run, so no device is taken
    serve(answer)
