"""The names that scripts written for the original import; see docs/migration.md."""

import importlib

import pytest

NAMES = {
    "config": "cfg",
    "config.paths_catalog": "DatasetCatalog ModelCatalog",
    "data": "make_data_loader",
    "data.samplers": "DistributedSampler GroupedBatchSampler IterationBasedBatchSampler",
    "data.transforms": "build_transforms Compose Resize RandomHorizontalFlip ToTensor Normalize",
    "engine.inference": "inference",
    "engine.trainer": "do_train",
    "layers": (
        "nms ml_nms roi_align ROIAlign roi_pool ROIPool SigmoidFocalLoss IOULoss FrozenBatchNorm2d "
        "Scale smooth_l1_loss Conv2d ConvTranspose2d BatchNorm2d interpolate DeformConv "
        "ModulatedDeformConv DFConv2d"
    ),
    "modeling.registry": (
        "BACKBONES RPN_HEADS ROI_BOX_FEATURE_EXTRACTORS ROI_BOX_PREDICTOR "
        "ROI_MASK_FEATURE_EXTRACTORS ROI_MASK_PREDICTOR ROI_KEYPOINT_FEATURE_EXTRACTORS "
        "ROI_KEYPOINT_PREDICTOR"
    ),
    "modeling.backbone": "build_backbone",
    "modeling.backbone.fbnet_builder": "PRIMITIVES Identity",
    "modeling.box_coder": "BoxCoder",
    "modeling.matcher": "Matcher",
    "modeling.poolers": "Pooler LevelMapper LevelMapperwithArea",
    "modeling.detector": "build_detection_model",
    "modeling.roi_heads.roi_heads": "build_roi_heads",
    "modeling.roi_heads.mask_head.inference": "Masker",
    "modeling.rpn.rpn": "build_rpn",
    "solver": "make_optimizer make_lr_scheduler WarmupMultiStepLR",
    "structures.bounding_box": "BoxList",
    "structures.boxlist_ops": (
        "boxlist_nms boxlist_ml_nms boxlist_iou cat_boxlist remove_small_boxes"
    ),
    "structures.image_list": "ImageList to_image_list",
    "structures.segmentation_mask": "SegmentationMask",
    "structures.keypoint": "PersonKeypoints",
    "utils.checkpoint": "Checkpointer DetectronCheckpointer",
    "utils.model_serialization": "load_state_dict strip_prefix_if_present",
    "utils.collect_env": "collect_env_info",
    "utils.comm": "get_rank get_world_size synchronize is_main_process all_gather reduce_dict",
    "utils.env": "setup_environment",
    "utils.imports": "import_file",
    "utils.logger": "setup_logger",
    "utils.metric_logger": "MetricLogger",
    "utils.miscellaneous": "mkdir",
    "utils.colormap": "colormap random_colors COLORS",
    "utils.cv2_util": "findContours",
}


@pytest.mark.parametrize(
    ("module", "name"), [(m, name) for m, names in NAMES.items() for name in names.split()]
)
def test_a_name_can_be_imported(module, name):
    assert hasattr(importlib.import_module(f"maskrcnn_benchmark.{module}"), name)
