"""Backends in a process of their own, usually one: `python -m jaxconv._bench.worker`.

Reads one JSON object a line and answers each with one:

    {"do": "prepare", "job": {...}, "platform": name}   {"compile": seconds, "workspace": bytes, "flops": ...}
                                                        or {"cannot": reason}
    {"do": "first call"}    {"seconds": {variant: of its first call}, "peak": bytes, "checksums": of the results}
    {"do": "time", "seconds": s, "variants": [...]}     {"times": {variant: [seconds of each call]}}
    {"do": "release"}       {}

each with the "backend" it is for, and {"error": message} to whatever went wrong. It ends where its input ends.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from .._measure import clocked
from .job import CannotError, Job, sum_of_squares
from .memory import start_over
from .prepared import Prepared

MOST_CALLS = 100


def prepare(backend: str, job: Job, platform: str) -> Prepared:
    """The job, ready to run on the platform, which is JAX's default one."""
    if backend == "torch":
        from . import by_torch

        return by_torch.prepare(job, by_torch.device_on(platform))
    from . import by_jax

    if backend == "elementwise":
        return by_jax.elementwise(job)
    return by_jax.products(job.dtype) if backend == "matmul" else by_jax.prepare(backend, job)


def first_call(prepared: Prepared) -> dict[str, Any]:
    """The first call of each variant: its seconds; peak memory after all of them; what came out."""
    seconds, values = {}, []
    for variant, call in prepared.calls.items():
        start = time.perf_counter()
        values.append(call())
        seconds[variant] = time.perf_counter() - start
    peak = prepared.peak()
    checksums = [sum_of_squares(prepared.value(value)) for value in values]
    return {"seconds": seconds, "peak": peak, "checksums": checksums}


def take_times(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each call of each variant, at least one, in about `seconds` for each."""
    result = {}
    for variant, call in calls.items():
        times = [clocked(call)]
        if times[0] < seconds:  # else it is too long for caches, that another process had meanwhile, to matter
            times = [clocked(call)]
        while sum(times) < seconds and len(times) < MOST_CALLS:
            times.append(clocked(call))
        result[variant] = times
    return result


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer each message until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except (CannotError, NotImplementedError) as error:
            reply = {"cannot": str(error)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(reply), file=answers, flush=True)


def main() -> None:
    """Do what the backends are asked."""
    ready: dict[str, Prepared] = {}

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        backend = message["backend"]
        if message["do"] == "prepare":
            ready.pop(backend, None)
            start_over()
            prepared = ready[backend] = prepare(backend, Job.from_json(message["job"]), message["platform"])
            return {"compile": prepared.compile, "workspace": prepared.workspace, "flops": prepared.flops}
        if message["do"] == "release":
            ready.pop(backend, None)
            return {}
        if backend not in ready:
            return {"error": f"nothing is prepared by {backend}: the process has ended since, and with it what it had"}
        if message["do"] == "first call":
            return first_call(ready[backend])
        calls = {variant: ready[backend].calls[variant] for variant in message["variants"]}
        return {"times": take_times(calls, message["seconds"])}

    serve(answer)


if __name__ == "__main__":
    main()
