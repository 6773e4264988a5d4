"""What all functions pass on to `conv_general_dilated` as it is."""

from collections.abc import Iterable
from typing import Any, TypedDict

from jax.typing import DTypeLike


class Options(TypedDict, total=False):
    """Keywords with the meaning and the defaults that they have in `conv_general_dilated`."""

    precision: Any
    preferred_element_type: DTypeLike | None
    algorithm: str | None
    accuracy: str | None
    max_workspace_bytes: int | None


def check_options(function: str, options: Iterable[str]) -> None:
    """TypeError for other keywords, as Python words it: `conv_general_dilated` has some that would mean something else
    to the function, such as `spatial_axis_name`, by which an input is a shard."""
    for name in options:
        if name not in Options.__annotations__:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
