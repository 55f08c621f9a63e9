"""Data sets: photos and what is known about them."""

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.concat_dataset import ConcatDataset
from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.datasets.voc import PascalVOCDataset

__all__ = ["COCODataset", "ConcatDataset", "DetectionDataset", "PascalVOCDataset"]
