"""Builds, tests and times flowkernels on a GPU from a checkout, in one command."""
