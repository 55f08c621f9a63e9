"""Names for the labels of a model."""

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.coco_ids import COCO_IDS
from maskrcnn_benchmark.data.entries import make_known_categories

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


# Source: the same.
_COCO_NAMES_BY_ID = dict(zip(COCO_IDS, COCO_CLASS_NAMES, strict=True))


def build_class_names(cfg: CfgNode) -> dict[int, str]:
    """Label to name, from the first data set of the settings whose categories are known.

    Without any, the names of COCO for a model of 80 classes, or of 90, whose labels are COCO's ids
    then, as torchvision has it; ``person`` for one of a class with keypoints, else ``class 1``,
    ``class 2``, ...; a model that only proposes regions has one class, ``proposal``.
    """
    spec = ArchitectureSpec.from_config(cfg)
    if spec.box_only:
        return {1: "proposal"}
    num_foreground = spec.num_classes - 1
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        names = make_known_categories(cfg, name)
        if len(names) == num_foreground:
            return dict(names)
    if num_foreground == len(COCO_CLASS_NAMES):
        return dict(enumerate(COCO_CLASS_NAMES, start=1))
    if num_foreground == max(_COCO_NAMES_BY_ID):
        labels = range(1, num_foreground + 1)
        return {label: _COCO_NAMES_BY_ID.get(label, f"class {label}") for label in labels}
    if num_foreground == 1 and "keypoint" in spec.roi_heads:
        return {1: "person"}
    return {label: f"class {label}" for label in range(1, num_foreground + 1)}
