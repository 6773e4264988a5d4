"""Every lax convolution of the process, where nothing can be wrapped.

Lax's primitive gets a lowering rule that chooses as ours does. Lowering comes after grad and vmap, so the convolutions
that those make are chosen for as well, also inside custom derivatives.
"""

import threading
from typing import NamedTuple

import jax

from ._primitive import lower_lax_by
from ._select import check_request
from ._settings import Request, changed


class Installed(NamedTuple):
    """The arguments of `install`."""

    algorithm: str | None = None
    accuracy: str | None = None
    max_workspace_bytes: int | None = None

    def request(self) -> Request:
        """What lax's convolutions go by in this thread, here."""
        return Request(self.algorithm, changed(self.accuracy, self.max_workspace_bytes))


_lock = threading.Lock()
_installed: Installed | None = None


def install(
    *, algorithm: str | None = None, accuracy: str | None = None, max_workspace_bytes: int | None = None
) -> None:
    """From now on compute every `lax.conv_general_dilated` in the process as `accelerate` would, until `uninstall`.

    For code that cannot be wrapped, such as Keras's `fit` or other people's training loops. It holds for all threads
    and all devices: for eager calls, for what is jitted later and for what was jitted before, which is traced and
    compiled anew when it is called next. Backward convolutions are reached wherever they are made.
    `jaxconv.conv_general_dilated` and what is within `accelerate` go by their own arguments as before; with
    `algorithm="xla"` they are lax's own.

    `policy` and plans count where a function is compiled: where it is called first, or at `.lower()`. Programs that
    were compiled ahead of time or exported before stay as they are.

    Calling it again with the same arguments changes nothing; with others, those hold instead.

    Args:
      algorithm: as in `conv_general_dilated`, for all convolutions; those it cannot do use "xla".
      accuracy, max_workspace_bytes: as in `policy`, for all convolutions.

    Raises:
      ValueError: for an unknown algorithm or accuracy or a negative `max_workspace_bytes`. Nothing is changed then.

    >>> import jax, jax.numpy as jnp, jaxconv
    >>> convolve = jax.jit(lambda x, w: jax.lax.conv(x, w, (1, 1), "SAME"))
    >>> arguments = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    >>> jaxconv.install(algorithm="im2col")
    >>> "convolution" in convolve.lower(*arguments).as_text()
    False
    >>> jaxconv.uninstall()
    >>> "convolution" in convolve.lower(*arguments).as_text()
    True
    """
    new = Installed(algorithm, accuracy, max_workspace_bytes)
    check_request(new.request())
    _change_to(new)


def uninstall() -> None:
    """From now on leave `lax.conv_general_dilated` to lax again. Without `install` before it changes nothing.

    >>> import jaxconv
    >>> jaxconv.install()
    >>> jaxconv.uninstall()
    """
    _change_to(None)


def _change_to(new: Installed | None) -> None:
    global _installed
    with _lock:
        if new == _installed:
            return
        lower_lax_by(new.request if new else None)
        _installed = new
        jax.clear_caches()  # last: whatever is compiled from here on is lowered by the new rules


def request_of_lax(accuracy: str | None, max_workspace_bytes: int | None) -> Request:
    """What lax's convolutions go by in this thread, here, or would within `accelerate`; with what is not None of these
    in place of its own."""
    installed = _installed or Installed()
    if accuracy is not None:
        installed = installed._replace(accuracy=accuracy)
    if max_workspace_bytes is not None:
        installed = installed._replace(max_workspace_bytes=max_workspace_bytes)
    return installed.request()
