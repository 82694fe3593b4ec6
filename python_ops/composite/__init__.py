"""The ops in plain torch, differentiable to any order and as careful as the kernels.

Second and forward-mode derivatives, and FLOWKERNELS_BACKEND=reference, run through these.
"""
