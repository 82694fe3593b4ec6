"""Images to learn from: data sets by name, held whole in memory, in resumable batches.

``flowkernels.experiments.data.module`` (which needs Lightning) has the data module over them.
"""

from flowkernels.experiments.data.batches import TensorBatches
from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.registry import DATASETS, load_dataset

__all__ = ["DATASETS", "DataError", "ImageDataset", "TensorBatches", "load_dataset"]
