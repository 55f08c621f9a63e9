"""Names for the labels of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, ConfigError
from maskrcnn_benchmark.data.datasets.voc import PascalVOCDataset
from maskrcnn_benchmark.utils.catalogs import import_catalog

# Source: the COCO data set, in ascending order of category ids.
_COCO_CLASS_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,"
    "bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,"
    "oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,"
    "toothbrush"
)
COCO_CLASS_NAMES = tuple(_COCO_CLASS_NAMES.split(","))


def build_class_names(cfg: CfgNode) -> dict[int, str]:
    """Label to name, from the annotation file of the first data set of the settings that is here.

    Without any, the names of COCO for a model of 80 classes, ``person`` for one of a class with
    keypoints, else ``class 1``, ``class 2``, ...; a model that only proposes regions has one class,
    ``proposal``. Data sets in VOC's own format need not be here.

    Args:
        cfg: DATASETS.TEST, DATASETS.TRAIN, PATHS_CATALOG and the number of classes are read.
    """
    spec = ArchitectureSpec.from_config(cfg)
    if spec.box_only:
        return {1: "proposal"}
    num_foreground = spec.num_classes - 1
    catalog = import_catalog(cfg.PATHS_CATALOG).DatasetCatalog
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        names = _names_in_annotations(catalog, name)
        if len(names) == num_foreground:
            return names
    if num_foreground == len(COCO_CLASS_NAMES):
        return dict(enumerate(COCO_CLASS_NAMES, start=1))
    if num_foreground == 1 and "keypoint" in spec.roi_heads:
        return {1: "person"}
    return {label: f"class {label}" for label in range(1, num_foreground + 1)}


def _names_in_annotations(catalog: Any, dataset_name: str) -> dict[int, str]:  # noqa: ANN401  # a class of the user's file
    """The names by ascending category id; none where name or file are not here."""
    try:
        entry = catalog.get(dataset_name)
    except ConfigError:
        return {}
    if entry["factory"] in (PascalVOCDataset, PascalVOCDataset.__name__):
        return dict(list(enumerate(PascalVOCDataset.CLASSES))[1:])
    path = Path(entry["args"].get("ann_file", ""))
    if not path.is_file():
        return {}
    categories = json.loads(path.read_text(encoding="utf-8")).get("categories", [])
    ordered = sorted(categories, key=lambda category: int(category["id"]))
    return {label: str(category["name"]) for label, category in enumerate(ordered, start=1)}
