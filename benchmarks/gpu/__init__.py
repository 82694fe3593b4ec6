"""Builds, tests and times flowkernels on a GPU, from a bare checkout, in one go."""
