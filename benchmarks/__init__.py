"""Speed of every op beside plain torch, eager and compiled; `python -m benchmarks --help`."""
