"""Images to learn from: data sets by name, held whole in memory, in resumable batches.

``flowkernels.data.module`` (which needs Lightning) has the data module over them.
"""

from flowkernels.data.batches import TensorBatches
from flowkernels.data.dataset import ImageDataset
from flowkernels.data.errors import DataError
from flowkernels.data.registry import DATASETS, load_dataset

__all__ = ["DATASETS", "DataError", "ImageDataset", "TensorBatches", "load_dataset"]
