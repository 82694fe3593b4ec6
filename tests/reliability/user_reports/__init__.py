"""Reports of faults in other packages for flows, spheres and kernels, tried on this one."""

from . import directions, flows, kernels, spheres
from .report import REPORTS, Report

__all__ = ["REPORTS", "Report", "directions", "flows", "kernels", "spheres"]
