"""What all functions pass on to `conv_general_dilated` as it is."""

from typing import Any, TypedDict

from jax.typing import DTypeLike


class Options(TypedDict, total=False):
    """Keywords with the meaning and the defaults that they have in `conv_general_dilated`."""

    precision: Any
    preferred_element_type: DTypeLike | None
    algorithm: str | None
    accuracy: str | None
    max_workspace_bytes: int | None
