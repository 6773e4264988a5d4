"""What XLA's compiler for a TPU makes of every algorithm, on a machine that has none: `python -m benchmarks.ahead_of_time`."""
