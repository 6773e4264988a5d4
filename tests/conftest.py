"""Hypothesis profiles and devices.

64-bit types are on, because the reference is float64; what needs them off says so.

Eight virtual devices are there for the tests that share work out."""

import os

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 8)

# What these assert says as much where it fails as what tests do.
pytest.register_assert_rewrite("commands", "installing", "shards")

# A compile costs far more than a convolution of test size, so examples are few and deadlines are off.
hypothesis.settings.register_profile("quick", max_examples=15, deadline=None, derandomize=True)
hypothesis.settings.register_profile("deep", max_examples=500, deadline=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
hypothesis.settings.load_profile(PROFILE)


@pytest.fixture(autouse=True)
def bounded_memory():
    """Hundreds of examples leave as many compiled programs behind, which nobody will run again."""
    yield
    if PROFILE == "deep":
        jax.clear_caches()
