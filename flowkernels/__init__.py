"""Kernels under normalizing flows and everything spherical, for PyTorch."""

__version__ = "0.1.0"
