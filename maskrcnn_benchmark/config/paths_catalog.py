"""Where data sets and pretrained weights live: names of configurations -> files and URLs.

A configuration can point to a file of its own with the same two classes (PATHS_CATALOG).
"""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.shipped import SHIPPED
from maskrcnn_benchmark.config.weight_settings import WeightSettings

# The quickstart weights travel with the package, the photos with the source alone.
_BUNDLED = SHIPPED / "datasets"
_QUICKSTART = _BUNDLED / "quickstart"
_QUICKSTART_WEIGHTS = _QUICKSTART / "mobilenet_v2_imagenet_u8_features.npz"

_QUICKSTART_SETTINGS = WeightSettings(True, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
_CAFFE2_SETTINGS = WeightSettings(True, (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))
_DETECTRON2_SETTINGS = WeightSettings(
    True, (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), stride_in_1x1=True, convention="detectron2"
)
_DETECTRON2_RESNEXT_SETTINGS = replace(
    _DETECTRON2_SETTINGS, pixel_std=(57.375, 57.12, 58.395), stride_in_1x1=False
)

# The photos of the training split with one to five objects: few enough to learn in minutes.
_QUICKSTART_FEW = (
    *(30, 86, 165, 309, 370, 436, 450, 459, 471, 529, 599, 626, 107438, 121647, 196393, 278528),
    *(352257, 358083, 408805, 491525),
)


# Start of a model's name in detectron2's zoo -> folder there.
_DETECTRON2_TASKS = {
    "faster_rcnn": "COCO-Detection",
    "retinanet": "COCO-Detection",
    "mask_rcnn": "COCO-InstanceSegmentation",
    "keypoint_rcnn": "COCO-Keypoints",
}
_SPLITS = ("train", "val", "test")
# Split of COCO 2014 -> the split whose images it has.
_COCO_2014 = {"train": "train", "val": "val", "minival": "val", "valminusminival": "val"}


def _coco(img_dir: str, annotations: str) -> dict[str, str]:
    return {"img_dir": f"coco/{img_dir}", "ann_file": f"coco/annotations/{annotations}.json"}


def _bundled(name: str, split: str) -> dict[str, str]:
    folder = _BUNDLED / name
    return {
        "img_dir": str(folder / split),
        "ann_file": str(folder / "annotations" / f"instances_{split}.json"),
    }


_ENTRY_KEYS = ("img_dir", "ann_file")
_OPTIONAL_ENTRY_KEYS = ("reader", "image_ids")


def _check_keys(name: str, entry: Mapping[str, Any]) -> None:
    """Raise unless an entry of annotations and photos has the keys that it must have."""
    wrong = [f"{key!r} is missing" for key in _ENTRY_KEYS if key not in entry]
    known = (*_ENTRY_KEYS, *_OPTIONAL_ENTRY_KEYS)
    wrong += [f"{key!r} is unknown" for key in entry if key not in known]
    if wrong:
        raise ConfigError(
            f"the data set {name!r} in DatasetCatalog.DATASETS, {dict(entry)!r:.200}: "
            f"{', '.join(wrong)}; known: {', '.join(known)}"
        )


class DatasetCatalog:
    """The known data sets.

    Attributes:
        DATA_DIR: the folder that relative paths start from: the environment variable
            CENTERMASK_DATASETS if set, else "datasets".
        DATASETS: name -> paths. An entry with ``img_dir`` and ``ann_file`` is a data set in
            COCO's format, or in the one that ``reader`` (a name in
            ``data.datasets.readers.READERS``, or a function) reads; ``image_ids`` restricts it to
            some images. One with ``factory`` names the class of the data set and gives its
            arguments. A script may add entries of both kinds.
    """

    DATA_DIR: ClassVar[str] = os.environ.get("CENTERMASK_DATASETS") or "datasets"
    DATASETS: ClassVar[dict[str, dict[str, Any]]] = {
        "coco_2017_train": _coco("train2017", "instances_train2017"),
        "coco_2017_val": _coco("val2017", "instances_val2017"),
        "coco_2017_test_dev": _coco("test2017", "image_info_test-dev2017"),
        # Labels are COCO's category ids, as in the detectors of torchvision.
        **{
            f"coco_2017_{split}_by_id": {
                **_coco(f"{split}2017", f"instances_{split}2017"),
                "reader": "coco_json_by_id",
            }
            for split in ("train", "val")
        },
        **{
            f"{prefix}coco_2014_{split}": _coco(f"{images}2014", f"{kind}_{split}2014")
            for prefix, kind in (("", "instances"), ("keypoints_", "person_keypoints"))
            for split, images in _COCO_2014.items()
        },
        **{
            f"voc_{year}_{split}": {
                "factory": "PascalVOCDataset",
                "data_dir": f"voc/VOC{year}",
                "split": split,
            }
            for year in (2007, 2012)
            for split in _SPLITS
        },
        **{
            f"voc_{year}_{split}_cocostyle": {
                "img_dir": f"voc/VOC{year}/JPEGImages",
                "ann_file": f"voc/VOC{year}/Annotations/pascal_{split}{year}.json",
            }
            for year in (2007, 2012)
            for split in _SPLITS
            # These annotations were never published.
            if (year, split) != (2012, "test")
        },
        **{
            f"cityscapes_fine_instanceonly_seg_{split}_cocostyle": {
                "img_dir": "cityscapes/images",
                "ann_file": f"cityscapes/annotations/instancesonly_filtered_gtFine_{split}.json",
            }
            for split in _SPLITS
        },
        **{
            f"{name}_{split}": _bundled(name, split)
            for name in ("boards", "quickstart")
            for split in ("train", "val")
        },
        "quickstart_train_few": {**_bundled("quickstart", "train"), "image_ids": _QUICKSTART_FEW},
    }

    @classmethod
    def get(cls, name: str) -> dict[str, Any]:
        """The class of a data set and its arguments: ``{"factory": ..., "args": ...}``.

        COCO-format data sets have the arguments ``root`` (folder of the images) and
        ``ann_file``.

        Raises:
            ConfigError: for an unknown name, and an entry with wrong keys.
        """
        if name not in cls.DATASETS:
            known = ", ".join(sorted(cls.DATASETS))
            raise ConfigError(
                f"unknown data set {name!r} in DATASETS: it is no file or folder that is here, and "
                f"not one of {known}"
            )
        entry = dict(cls.DATASETS[name])
        factory = entry.pop("factory", "COCODataset")
        if factory == "COCODataset":
            _check_keys(name, entry)
            entry = {"root": entry.pop("img_dir"), **entry}
        for key in entry.keys() & {"root", "ann_file", "data_dir"}:
            entry[key] = os.path.join(cls.DATA_DIR, os.path.expanduser(entry[key]))
        return {"factory": factory, "args": entry}


class ModelCatalog:
    """The weights that ``catalog://NAME`` stands for.

    Source: the lists of ImageNet and COCO models in Detectron's model zoo.
    """

    S3_C2_DETECTRON_URL: ClassVar[str] = "https://dl.fbaipublicfiles.com/detectron"
    C2_IMAGENET_MODELS: ClassVar[dict[str, str]] = {
        "MSRA/R-50": "ImageNetPretrained/MSRA/R-50.pkl",
        "MSRA/R-50-GN": "ImageNetPretrained/47261647/R-50-GN.pkl",
        "MSRA/R-101": "ImageNetPretrained/MSRA/R-101.pkl",
        "MSRA/R-101-GN": "ImageNetPretrained/47592356/R-101-GN.pkl",
        "FAIR/20171220/X-101-32x8d": "ImageNetPretrained/20171220/X-101-32x8d.pkl",
        "FAIR/20171220/X-101-64x4d": "ImageNetPretrained/20171220/X-101-64x4d.pkl",
    }
    # Detectron's run number and model -> time and random part of the name of the run's folder.
    C2_DETECTRON_MODELS: ClassVar[dict[str, str]] = {
        "35857197/e2e_faster_rcnn_R-50-C4_1x": "01_33_49.iAX0mXvW",
        "35857345/e2e_faster_rcnn_R-50-FPN_1x": "01_36_30.cUF7QR7I",
        "35857890/e2e_faster_rcnn_R-101-FPN_1x": "01_38_50.sNxI7sX7",
        "36761737/e2e_faster_rcnn_X-101-32x8d-FPN_1x": "06_31_39.5MIHi1fZ",
        "35858791/e2e_mask_rcnn_R-50-C4_1x": "01_45_57.ZgkA7hPB",
        "35858933/e2e_mask_rcnn_R-50-FPN_1x": "01_48_14.DzEQe4wC",
        "35861795/e2e_mask_rcnn_R-101-FPN_1x": "02_31_37.KqyEK4tT",
        "36761843/e2e_mask_rcnn_X-101-32x8d-FPN_1x": "06_35_59.RZotkLKI",
        "37129812/e2e_mask_rcnn_X-152-32x8d-FPN-IN5k_1.44x": "09_35_36.8pzTQKYK",
        "37697547/e2e_keypoint_rcnn_R-50-FPN_1x": "08_42_54.kdzV35ao",
    }
    S3_DETECTRON2_URL: ClassVar[str] = "https://dl.fbaipublicfiles.com/detectron2"
    # Model of detectron2's zoo -> run and file.
    DETECTRON2_MODELS: ClassVar[dict[str, str]] = {
        "faster_rcnn_R_50_FPN_1x": "137257794/model_final_b275ba.pkl",
        "faster_rcnn_R_50_FPN_3x": "137849458/model_final_280758.pkl",
        "faster_rcnn_R_101_FPN_3x": "137851257/model_final_f6e8b1.pkl",
        "faster_rcnn_X_101_32x8d_FPN_3x": "139173657/model_final_68b088.pkl",
        "retinanet_R_50_FPN_1x": "190397773/model_final_bfca0b.pkl",
        "retinanet_R_50_FPN_3x": "190397829/model_final_5bd44e.pkl",
        "retinanet_R_101_FPN_3x": "190397697/model_final_971ab9.pkl",
        "mask_rcnn_R_50_FPN_1x": "137260431/model_final_a54504.pkl",
        "mask_rcnn_R_50_FPN_3x": "137849600/model_final_f10217.pkl",
        "mask_rcnn_R_101_FPN_3x": "138205316/model_final_a3ec72.pkl",
        "mask_rcnn_X_101_32x8d_FPN_3x": "139653917/model_final_2d9806.pkl",
        "keypoint_rcnn_R_50_FPN_1x": "137261548/model_final_04e291.pkl",
        "keypoint_rcnn_R_50_FPN_3x": "137849621/model_final_a6e10b.pkl",
        "keypoint_rcnn_R_101_FPN_3x": "138363331/model_final_997cc7.pkl",
        "keypoint_rcnn_X_101_32x8d_FPN_3x": "139686956/model_final_5ad38f.pkl",
    }
    LOCAL_MODELS: ClassVar[dict[str, str]] = {"quickstart/mobilenet_v2": str(_QUICKSTART_WEIGHTS)}
    # Libraries that download weights of their own, and names of models in them.
    LIBRARIES: ClassVar[dict[str, str]] = {
        "torchvision": "torchvision/resnet50, torchvision/resnet50.IMAGENET1K_V2 ...",
        "timm": "timm/ese_vovnet39b.ra_in1k ...",
    }

    @classmethod
    def get(cls, name: str) -> str:
        """The URL or local path of the weights called ``name`` (without ``catalog://``).

        Names of libraries give the library and its model: ``"torchvision://resnet50"``.

        Raises:
            ConfigError: for an unknown name; the message lists the known ones.
        """
        library, _, model = name.partition("/")
        if library in cls.LIBRARIES and model:
            return f"{library}://{model}"
        weights = {
            **cls.LOCAL_MODELS,
            **{
                f"ImageNetPretrained/{model}": f"{cls.S3_C2_DETECTRON_URL}/{path}"
                for model, path in cls.C2_IMAGENET_MODELS.items()
            },
            **{f"Caffe2Detectron/COCO/{run}": cls._run_url(run) for run in cls.C2_DETECTRON_MODELS},
            **{f"detectron2/{model}": cls._zoo_url(model) for model in cls.DETECTRON2_MODELS},
        }
        if name not in weights:
            known = ", ".join([*sorted(weights), *cls.LIBRARIES.values()])
            raise ConfigError(f"unknown weights catalog://{name} in MODEL.WEIGHT; known: {known}")
        return weights[name]

    @classmethod
    def settings(cls, name: str) -> WeightSettings | None:
        """What the weights called ``name`` were trained with, None if only a library knows."""
        if name in cls.LOCAL_MODELS:
            return _QUICKSTART_SETTINGS
        if name.startswith(("ImageNetPretrained/", "Caffe2Detectron/")):
            # Detectron's own ResNeXts and those with group norm have the stride in the 3x3.
            return replace(_CAFFE2_SETTINGS, stride_in_1x1=not re.search(r"/X-|_X-|-GN$", name))
        if name.startswith("detectron2/"):
            return _DETECTRON2_RESNEXT_SETTINGS if "_X_" in name else _DETECTRON2_SETTINGS
        return None

    @classmethod
    def _zoo_url(cls, model: str) -> str:
        task = next(task for kind, task in _DETECTRON2_TASKS.items() if model.startswith(kind))
        return f"{cls.S3_DETECTRON2_URL}/{task}/{model}/{cls.DETECTRON2_MODELS[model]}"

    @classmethod
    def _run_url(cls, run: str) -> str:
        number, model = run.split("/")
        kind = "keypoints_" if "keypoint" in model else ""
        return (
            f"{cls.S3_C2_DETECTRON_URL}/{number}/12_2017_baselines/"
            f"{model}.yaml.{cls.C2_DETECTRON_MODELS[run]}/output/train/"
            f"{kind}coco_2014_train%3A{kind}coco_2014_valminusminival/"
            "generalized_rcnn/model_final.pkl"
        )
