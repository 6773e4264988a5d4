"""What tests need that is not everywhere."""

import pytest

from jaxconv._algorithms import _onednn

needs_onednn = pytest.mark.skipif(bool(_onednn.lack()), reason=_onednn.lack())
