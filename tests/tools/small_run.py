"""A real model and a data set of a few small photos, for runs of the tools in seconds."""

import json
from pathlib import Path

from tests.data import tiny_coco

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "centermask" / "centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml"

_CATALOG = """
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog, ModelCatalog

DatasetCatalog = type("DatasetCatalog", (DatasetCatalog,), {{
    "DATASETS": {{"small": {{"img_dir": {root!r}, "ann_file": {ann_file!r}}}}}
}})
"""


def write_data_set(folder):
    """The catalog file of a data set "small": five photos with a square of 20 px or two each."""
    images, annotations = [], []
    for i in range(1, 6):
        images.append(tiny_coco.image(i, *((64, 48) if i % 2 else (48, 64))))
        for j in range(1 + i % 2):
            x, y = 4 * i + 20 * j, 5 + 3 * i
            corners = [x, y, x + 20, y, x + 20, y + 20, x, y + 20]
            annotations.append(
                tiny_coco.annotation(
                    10 * i + j, i, 7 if j else 3, (x, y, 20, 20), segmentation=[corners], area=400
                )
            )
    ann_file, root = tiny_coco.write(folder, tiny_coco.content(images, annotations))
    catalog = folder / "catalog.py"
    catalog.write_text(_CATALOG.format(root=str(root), ann_file=str(ann_file)))
    return catalog


def arguments(catalog, output_dir, **more):
    """A command line that trains a two-class CenterMask-Lite for six iterations on the CPU.

    ``more`` sets further keys, with two underscores for each dot.
    """
    settings = {
        "MODEL.WEIGHT": "",
        "MODEL.DEVICE": "cpu",
        "MODEL.NUM_CLASSES": 3,
        "MODEL.MASKIOU_ON": True,
        "MODEL.FCOS.PRE_NMS_TOP_N": 100,
        "MODEL.FCOS.POST_NMS_TOP_N_TRAIN": 20,
        "DATASETS.TRAIN": "('small',)",
        "DATASETS.TEST": "('small',)",
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.MIN_SIZE_RANGE_TRAIN": "(40, 60)",
        "INPUT.MAX_SIZE_TRAIN": 80,
        "INPUT.MIN_SIZE_TEST": 48,
        "INPUT.MAX_SIZE_TEST": 64,
        "SOLVER.MAX_ITER": 6,
        "SOLVER.STEPS": "(4,)",
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.BASE_LR": 0.01,
        "SOLVER.WARMUP_ITERS": 2,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "SOLVER.TEST_PERIOD": 0,
        "SOLVER.LOG_PERIOD": 1,
        "TEST.IMS_PER_BATCH": 2,
        "TEST.DETECTIONS_PER_IMG": 5,
        "PATHS_CATALOG": catalog,
        "OUTPUT_DIR": output_dir,
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    options = [str(part) for item in settings.items() for part in item]
    return ["--config-file", str(CONFIG), *options]


def trace(output_dir):
    """The metrics of a run, without what depends on the clock."""
    lines = (Path(output_dir) / "metrics.jsonl").read_text().splitlines()
    clock = {"time", "data_time", "eta_seconds"}
    return [{k: v for k, v in json.loads(line).items() if k not in clock} for line in lines]
