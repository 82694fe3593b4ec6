"""Speed of every op against plain torch, eager and compiled; see `python -m benchmarks --help`."""
