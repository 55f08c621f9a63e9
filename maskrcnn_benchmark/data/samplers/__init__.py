"""The order in which images are served."""

from maskrcnn_benchmark.data.samplers.distributed import DistributedSampler
from maskrcnn_benchmark.data.samplers.grouped_batch_sampler import GroupedBatchSampler
from maskrcnn_benchmark.data.samplers.iteration_based_batch_sampler import (
    IterationBasedBatchSampler,
    KeyedBatchSampler,
)
from maskrcnn_benchmark.data.samplers.seeds import SampleKey, mix_seed

__all__ = [
    "DistributedSampler",
    "GroupedBatchSampler",
    "IterationBasedBatchSampler",
    "KeyedBatchSampler",
    "SampleKey",
    "mix_seed",
]
