"""What holds for all convolutions that do not say otherwise: accuracy, memory, and the plan in use.

The settings are a JAX user context: functions under `jax.jit` are traced anew where they differ, so that no choice
outlives the settings it was made under, and each thread has its own.
"""

import threading
from contextlib import ContextDecorator, suppress
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from ._accuracy import ACCURACIES
from ._algorithm import default_bound

if TYPE_CHECKING:
    from ._plan import Plan


class Settings(NamedTuple):
    """What the chooser goes by.

    Attributes:
      accuracy: "strict", "default" or "fast".
      max_workspace_bytes: how much an algorithm may take beside operands and result; None for what the platform has.
      plan: whose choices come before the cost model's.
    """

    accuracy: str = "default"
    max_workspace_bytes: int | None = None
    plan: "Plan | None" = None

    def bound(self, platform: str) -> int:
        """How much an algorithm may take in programs for the platform."""
        return default_bound(platform) if self.max_workspace_bytes is None else self.max_workspace_bytes


class Request(NamedTuple):
    """What one convolution, and all that it becomes under transformations, was asked to go by."""

    algorithm: str | None
    settings: Settings

    def less(self, taken: int) -> "Request":
        """The same where so many bytes of the workspace are taken, in programs for CPUs."""
        left = self.settings.bound("cpu") - taken
        return self._replace(settings=self.settings._replace(max_workspace_bytes=left)) if taken else self

    def __repr__(self) -> str:  # in printed programs
        plan = self.settings.plan
        bound = self.settings.max_workspace_bytes
        words = [self.algorithm or "chosen", self.settings.accuracy]
        words += [f"{bound} bytes"] if bound is not None else []
        return f"<{', '.join(words + ([f'plan of {len(plan.convolutions)}'] if plan else []))}>"


_context = jax.make_user_context(Settings())


def current() -> Settings:
    """The settings of this thread, here."""
    return _context.value


def using(settings: Settings) -> Any:
    """A context in which these are current."""
    return _context(settings)


def changed(accuracy: str | None, max_workspace_bytes: int | None) -> Settings:
    """The current settings with what is not None in place of theirs, checked."""
    settings = current()
    if accuracy is not None:
        if accuracy not in list(ACCURACIES):
            raise ValueError(f"accuracy must be one of {', '.join(map(repr, ACCURACIES))}, got {accuracy!r}")
        settings = settings._replace(accuracy=accuracy)
    if max_workspace_bytes is not None:
        settings = settings._replace(max_workspace_bytes=_checked_bytes(max_workspace_bytes))
    return settings


def _checked_bytes(value: Any) -> int:
    with suppress(TypeError):  # of what is no whole number
        if not isinstance(value, bool) and index(value) >= 0:
            return index(value)
    raise ValueError(f"max_workspace_bytes must be an integer of 0 or more, got {value!r}")


class Entered(threading.local):
    """The contexts that something which can be entered is in, of this thread, the innermost last."""

    def __init__(self) -> None:
        self.stack: list[Any] = []

    def enter(self, context: Any) -> None:
        """One more."""
        context.__enter__()
        self.stack.append(context)

    def leave(self, *error: Any) -> None:
        """The innermost."""
        self.stack.pop().__exit__(*error)


class policy(ContextDecorator):
    """A context in which convolutions that do not say otherwise are chosen for this accuracy and memory.

    Args:
      accuracy: "strict": direct sums only, each result within the bound of a direct sum of its own products.
        "default": also `"winograd2"` and `"karatsuba"`, whose error on data without large differences between
        neighbours is at most 8 times that of a direct sum. "fast": also `"winograd4"` and `"fft"`, whose error is
        small next to the largest results only; of half types the parts of a sum that several devices have are rounded
        before they are added up, which halves what these send. None keeps what is current.
      max_workspace_bytes: memory beside operands and result that an algorithm may take; unless changed, 16 MiB in
        programs for CPUs and 1 GiB in others. What lax's own convolution takes cannot be bounded. None keeps what is
        current.

    Infinities and NaNs in the input: under "strict" they reach the results whose sums they are part of and no others.
    Of "default", `"packing"` may make results of other groups NaN, and `"strips"` neighbouring results. The others mix
    neighbouring inputs first: `"winograd2"` makes NaN of infinities, in those same results, and `"karatsuba"` may make
    results anywhere in the image NaN. Of "fast", `"winograd4"` makes all results of a tile of four along each axis NaN,
    and `"fft"` may make all of an image so. Of weight gradients these four may make all taps NaN that are from the same
    input channel or to the same output channel.

    It can be entered again, and decorates functions. Functions that were compiled under other settings are compiled
    anew. As with JAX's own contexts, generators and coroutines of a thread that take turns within such blocks leave
    each other's settings.

    Raises:
      ValueError: for values that are none of these.

    >>> import jax, jax.numpy as jnp, jaxconv
    >>> with jaxconv.policy(accuracy="strict", max_workspace_bytes=2**20):
    ...     out = jaxconv.conv_general_dilated(jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3)), (1, 1), "SAME")
    >>> out.shape
    (1, 4, 8, 8)
    """

    def __init__(self, *, accuracy: str | None = None, max_workspace_bytes: int | None = None) -> None:
        changed(accuracy, max_workspace_bytes)  # what is wrong with them is said here
        self._changes = accuracy, max_workspace_bytes
        self._entered = Entered()

    def __enter__(self) -> None:
        self._entered.enter(using(changed(*self._changes)))

    def __exit__(self, *error: Any) -> None:
        self._entered.leave(*error)
