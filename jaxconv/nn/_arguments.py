"""What a layer is made with: checked, and in the form that it keeps."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .._algorithms import ALGORITHMS
from .._functions.axes import Axes, Padding, pads, per_axis
from .._functions.padding_modes import check_padding_mode

LAYOUTS = {"NWC": 1, "NHWC": 2, "NDHWC": 3, "NCW": 1, "NCHW": 2, "NCDHW": 3}  # and the spatial axes of each


def read_settings(
    layer: str, kernel_size: Axes, stride: Axes, padding: Padding, dilation: Axes, layout: str | None, **choices: Any
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The taps along each axis, and the other arguments in the form of a layer's fields of the same names.

    `choices` are padding_mode and algorithm, where the layer has them.

    Raises:
      TypeError, ValueError: for values that are none or do not go together, naming the layer.
    """
    taps, layout = taps_and_layout(layer, kernel_size, layout)
    settings = {
        "stride": per_axis(layer, "stride", stride, len(taps)),
        "padding": pads(layer, padding, len(taps)),
        "dilation": per_axis(layer, "dilation", dilation, len(taps)),
        "layout": layout,
        **choices,
    }
    if "padding_mode" in choices:
        check_padding_mode(layer, settings["padding"], choices["padding_mode"])
    if "algorithm" in choices:
        check_choice(layer, "algorithm", choices["algorithm"], (None, *ALGORITHMS))
    return taps, settings


def taps_and_layout(layer: str, kernel_size: Axes, layout: str | None) -> tuple[tuple[int, ...], str]:
    """What one leaves open the other says.

    >>> taps_and_layout("Conv", 3, "NCHW"), taps_and_layout("Conv", (3, 5), None)
    (((3, 3), 'NCHW'), ((3, 5), 'NHWC'))
    """
    if isinstance(kernel_size, np.ndarray) and kernel_size.ndim:
        kernel_size = tuple(kernel_size)
    if layout is None:
        if not isinstance(kernel_size, Sequence):
            raise ValueError(
                f"{layer} kernel_size {kernel_size!r} leaves the number of axes open: "
                f"give a number for each axis, or a layout, one of {', '.join(LAYOUTS)}"
            )
        if not 1 <= len(kernel_size) <= 3:
            raise ValueError(f"{layer} kernel_size must be for 1 to 3 axes, got {kernel_size!r}")
        layout = f"N{'DHW'[3 - len(kernel_size) :]}C"
    check_choice(layer, "layout", layout, LAYOUTS)
    return per_axis(layer, "kernel_size", kernel_size, LAYOUTS[layout]), layout


def check_choice(layer: str, name: str, value: Any, choices: Iterable[Any]) -> None:
    """ValueError unless `value`, the argument `name`, is one of `choices`."""
    if value not in (every := tuple(choices)):
        raise ValueError(f"{layer} {name} must be one of {', '.join(map(repr, every))}, got {value!r}")


def check_channels(layer: str, groups: int, **channels: int) -> None:
    """ValueError unless all are positive integers and `groups` divides each of the numbers of channels."""
    for name, number in {"groups": groups, **channels}.items():
        if not hasattr(number, "__index__") or number < 1:
            raise ValueError(f"{layer} {name} must be a positive integer, got {number!r}")
        if number % groups:
            raise ValueError(f"{layer} groups must divide {name}, got {groups} groups of {number}")
