"""Image data sets by name, held in memory, and resumable batches of them.

``flowkernels.experiments.data.module`` (which needs Lightning) has the data module.
"""

from flowkernels.experiments.data.batches import TensorBatches
from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.registry import DATASETS, load_dataset

__all__ = ["DATASETS", "DataError", "ImageDataset", "TensorBatches", "load_dataset"]
