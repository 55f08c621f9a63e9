"""What scripts written for the original import and how they call it; see docs/migration.md."""

import ast
import importlib
import inspect

import pytest

from tests.contract.source_tree import PACKAGE, ROOT, files, is_old_path, module_name, tree

NAMES = {
    "config": "cfg",
    "config.paths_catalog": "DatasetCatalog ModelCatalog",
    "data.samplers": "DistributedSampler GroupedBatchSampler IterationBasedBatchSampler",
    "data.transforms": "Compose Resize RandomHorizontalFlip ToTensor Normalize",
    "layers": (
        "roi_align ROIAlign roi_pool ROIPool SigmoidFocalLoss IOULoss FrozenBatchNorm2d Scale "
        "smooth_l1_loss Conv2d ConvTranspose2d BatchNorm2d interpolate DeformConv "
        "ModulatedDeformConv DFConv2d"
    ),
    "modeling.registry": (
        "BACKBONES RPN_HEADS ROI_BOX_FEATURE_EXTRACTORS ROI_BOX_PREDICTOR "
        "ROI_MASK_FEATURE_EXTRACTORS ROI_MASK_PREDICTOR ROI_KEYPOINT_FEATURE_EXTRACTORS "
        "ROI_KEYPOINT_PREDICTOR"
    ),
    "modeling.backbone.fbnet_builder": "PRIMITIVES Identity",
    "modeling.poolers": "Pooler LevelMapper LevelMapperwithArea",
    "solver": "WarmupMultiStepLR",
    "structures.bounding_box": "FLIP_LEFT_RIGHT FLIP_TOP_BOTTOM",
    "structures.boxlist_ops": (
        "boxlist_nms boxlist_ml_nms boxlist_iou cat_boxlist remove_small_boxes"
    ),
    "structures.keypoint": "PersonKeypoints",
    "utils.model_serialization": "strip_prefix_if_present",
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
# Name -> the arguments that scripts give, by position or by name.
CALLS = {
    "data.make_data_loader": "cfg is_train is_distributed start_iter is_for_period",
    "data.transforms.build_transforms": "cfg is_train",
    "engine.inference.inference": (
        "model data_loader dataset_name iou_types box_only device expected_results "
        "expected_results_sigma_tol output_folder"
    ),
    "engine.trainer.do_train": (
        "cfg model data_loader data_loader_val optimizer scheduler checkpointer device "
        "checkpoint_period test_period arguments"
    ),
    "layers.nms": "boxes scores threshold",
    "layers.ml_nms": "boxes scores labels threshold",
    "modeling.backbone.build_backbone": "cfg",
    "modeling.box_coder.BoxCoder": "weights bbox_xform_clip",
    "modeling.detector.build_detection_model": "cfg",
    "modeling.matcher.Matcher": "high_threshold low_threshold allow_low_quality_matches",
    "modeling.roi_heads.mask_head.inference.Masker": "threshold padding",
    "modeling.roi_heads.roi_heads.build_roi_heads": "cfg in_channels",
    "modeling.rpn.rpn.build_rpn": "cfg in_channels",
    "solver.make_lr_scheduler": "cfg optimizer",
    "solver.make_optimizer": "cfg model",
    "structures.bounding_box.BoxList": "bbox image_size mode",
    "structures.image_list.ImageList": "tensors image_sizes",
    "structures.image_list.to_image_list": "tensors size_divisible",
    "structures.segmentation_mask.SegmentationMask": "instances size mode",
    "utils.checkpoint.Checkpointer": "model optimizer scheduler save_dir save_to_disk logger",
    "utils.checkpoint.DetectronCheckpointer": "cfg model",
    "utils.model_serialization.load_state_dict": "model loaded_state_dict",
}
OLD_PATHS = [path for path in files(PACKAGE, ".py") if is_old_path(path)]


def named(path):
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(f"maskrcnn_benchmark.{module}"), name)


@pytest.mark.parametrize("module", NAMES)
def test_names_can_be_imported(module):
    assert all(named(f"{module}.{name}") is not None for name in NAMES[module].split())


@pytest.mark.parametrize("path", CALLS)
def test_a_call_takes_the_arguments_of_the_original(path):
    parameters = list(inspect.signature(named(path)).parameters.values())
    given = CALLS[path].split()
    assert [each.name for each in parameters[: len(given)]] == given
    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters[: len(given)])
    must = [each for each in parameters[len(given) :] if each.default is each.empty]
    assert [each for each in must if each.kind is not each.VAR_KEYWORD] == []


@pytest.mark.parametrize("path", OLD_PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_old_path_leads_to_the_same_things(path):
    old = vars(importlib.import_module(module_name(path)))
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom):
            new = importlib.import_module(node.module)
            public = getattr(new, "__all__", [name for name in vars(new) if name[0] != "_"])
            assert public
            assert all(old[name] is getattr(new, name) for name in public)


@pytest.mark.parametrize("name", ["roi_pool", "deform_roi_pooling"])
def test_an_old_path_does_not_hide_the_function_of_its_name(name: str):
    importlib.import_module(f"{PACKAGE}.layers.{name}")
    assert inspect.isfunction(getattr(importlib.import_module(f"{PACKAGE}.layers"), name))
