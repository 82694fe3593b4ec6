"""Triton kernels of the ops, for GPUs without the compiled CUDA extension.

Imported only when one of them is needed; `registration` says which op is where.
"""
