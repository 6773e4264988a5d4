"""Training steps of large images on slices of TPUs, compiled without any: `python -m benchmarks.scaling`."""
