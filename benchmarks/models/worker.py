"""One contestant in a process of its own: `python -m benchmarks.models.worker CONTESTANT`.

Reads one JSON object a line and answers each with one:

    {"do": "prepare", "model": {...}, "start": path}   {"compile": seconds, "tune": seconds}, as far as there are such
    {"do": "losses"}                                   {"losses": {variant: [of each of the first steps]}}
    {"do": "time", "seconds": s}                       {"times": {variant: [seconds of each step]}}

and {"error": message} to whatever went wrong. It ends where its input ends.
"""

import sys
from pathlib import Path
from typing import Any

from jaxconv._bench.worker import serve, take_times

from .architectures import Model
from .start import load
from .training import Training, losses


def prepare(contestant: str, model: Model, start: Path) -> Training:
    """The contestant at the start that is in the file."""
    parameters, data = load(start)
    if contestant == "torch":
        from . import by_torch

        return by_torch.prepare(model, parameters, data)
    from . import by_jax

    return by_jax.prepare(contestant, model, parameters, data)


def main(contestant: str) -> None:
    """Answer until the input ends."""
    training: Training | None = None

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        nonlocal training
        if message["do"] == "prepare":
            training = prepare(contestant, Model.from_json(message["model"]), Path(message["start"]))
            return training.costs
        assert training is not None, "nothing is prepared"
        if message["do"] == "losses":
            return {"losses": losses(training)}
        times = {}
        for variant, start in training.starts.items():  # every turn from the start: what is timed is always the same
            times |= take_times({variant: start()}, message["seconds"])
        return {"times": times}

    serve(answer)


if __name__ == "__main__":
    main(sys.argv[1])
