"""What tests need that is not everywhere."""

import jax
import pytest

from jaxconv._algorithms import _onednn

lack = _onednn.lack() or ("" if jax.default_backend() == "cpu" else "it is for CPUs")
needs_onednn = pytest.mark.skipif(bool(lack), reason=lack)
on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of memory, or predicted times, of CPUs")
