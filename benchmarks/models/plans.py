"""Plans of the training steps at other sizes than those that are timed: measurements for the cost model to learn from.

    python -m benchmarks.models.plans FOLDER [--model NAME] [--batch N]

from the root of the repository, writes FOLDER/NAME.json, which `python -m benchmarks.cost` takes. Images are half as
large again along each side as those of `python -m benchmarks.models`, and the batch is another, so that no convolution
is one of those that the cost model is then shown to do well on.
"""

import argparse
import tempfile
from pathlib import Path

import jax

import jaxconv
from jaxconv._command.command import positive

from . import start
from .architectures import MODELS, Model
from .steps import training_step


def larger(model: Model) -> Model:
    """The same network for larger images."""
    *sides, channels = model.image
    return model._replace(image=(*(side * 3 // 2 for side in sides), channels))


def plan(model: Model, batch: int, seconds: float) -> jaxconv.Plan:
    """Of its training step."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "start.npz"
        start.save(path, model, batch)
        parameters, data = start.load(path)
    step, begin = training_step(model, parameters)
    return jaxconv.autotune(
        step, begin(), {name: jax.numpy.array(value) for name, value in data.items()}, seconds=seconds
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", action="append", choices=MODELS, help="default all; several times for several")
    parser.add_argument("--batch", type=positive, default=4, help="images in a step (%(default)s)")
    parser.add_argument("--seconds", type=float, default=150.0, help="for each model (%(default)s)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.model or MODELS:
        plan(larger(MODELS[name]), options.batch, options.seconds).save(options.folder / f"{name}.json")


if __name__ == "__main__":
    main()
