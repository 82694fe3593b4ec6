"""Clustering of directions, such as embeddings: scikit-learn's estimators for the sphere.

scikit-learn is not needed (extra `cluster`): where it is installed the classes extend its own, and
work in its pipelines and searches; without it they have the same methods.
"""

from __future__ import annotations

from .spherical_k_means import SphericalKMeans
from .von_mises_fisher_mixture import VonMisesFisherMixture

__all__ = ["SphericalKMeans", "VonMisesFisherMixture"]
