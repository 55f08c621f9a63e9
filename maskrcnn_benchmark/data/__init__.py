"""Reading data sets and serving batches of them."""

from maskrcnn_benchmark.data.build import (
    Datasets,
    make_data_loader,
    make_datasets,
    make_test_loader,
    make_train_loader,
)

__all__ = [
    "Datasets",
    "make_data_loader",
    "make_datasets",
    "make_test_loader",
    "make_train_loader",
]
