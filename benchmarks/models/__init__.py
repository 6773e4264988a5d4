"""How long whole training steps take: `python -m benchmarks.models`."""
