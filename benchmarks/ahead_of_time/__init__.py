"""What XLA makes of every algorithm for a TPU, on a machine without one: `python -m benchmarks.ahead_of_time`."""
