"""A contestant that is ready to train, and what they all do alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

MOMENTUM = 0.9
STEPS = 5  # whose losses are compared


class Training(NamedTuple):
    """Ready to run, and what it took.

    Attributes:
      starts: variant -> a function that goes back to the start and returns a step: a call that makes one step of
        training to its end and returns the loss before it.
      costs: seconds by name, of what has to be done once: "compile" and "tune".
    """

    starts: dict[str, Callable[[], Callable[[], Any]]]
    costs: dict[str, float]


def losses(training: Training, steps: int = STEPS) -> dict[str, list[float]]:
    """Variant -> losses of the first steps."""
    found = {}
    for variant, start in training.starts.items():
        step = start()
        found[variant] = [float(step()) for _ in range(steps)]
    return found
