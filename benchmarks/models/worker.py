"""Contestants in a process of their own, usually one: `python -m benchmarks.models.worker`.

Reads one JSON object a line and answers each with one:

    {"do": "prepare", "model": {...}, "start": path, "platform": name, "keep_memory": whether}
                                    {"compile": seconds, "tune": seconds}, as far as there are such
    {"do": "losses"}                {"losses": {variant: [of each of the first steps]}}
    {"do": "time", "seconds": s}    {"times": {variant: [seconds of each step]}}

each with the "contestant" it is for, and {"error": message} to whatever went wrong. It ends where its input ends.
"""

from pathlib import Path
from typing import Any

import jaxconv
from jaxconv._bench.by_torch import device_on
from jaxconv._bench.worker import serve, take_times
from jaxconv._memory import keep_freed

from .architectures import Model
from .start import load
from .training import Training, losses


def prepare(contestant: str, model: Model, start: Path, platform: str, keep_memory: bool) -> Training:
    """The contestant at the start that is in the file, on the platform, which is JAX's default one."""
    parameters, data = load(start)
    if keep_memory:
        keep_freed() if contestant == "torch" else jaxconv.keep_memory()
    if contestant == "torch":
        from . import by_torch

        if (device := device_on(platform)) is None:
            raise RuntimeError(f"PyTorch does not run on {platform} here")
        return by_torch.prepare(model, parameters, data, device)
    from . import by_jax

    return by_jax.prepare(contestant, model, parameters, data)


def main() -> None:
    """Answer until the input ends."""
    ready: dict[str, Training] = {}

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        name = message["contestant"]
        if message["do"] == "prepare":
            ready.pop(name, None)
            model, start = Model.from_json(message["model"]), Path(message["start"])
            ready[name] = prepare(name, model, start, message["platform"], message["keep_memory"])
            return ready[name].costs
        if name not in ready:
            return {"error": f"nothing is prepared by {name}: the process has ended since, and with it what it had"}
        training = ready[name]
        if message["do"] == "losses":
            return {"losses": losses(training)}
        times = {}
        for variant, start in training.starts.items():  # every turn from the start: what is timed is always the same
            times |= take_times({variant: start()}, message["seconds"])
        return {"times": times}

    serve(answer)


if __name__ == "__main__":
    main()
