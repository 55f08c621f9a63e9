"""The published configurations: all there, with their values, and building what they describe."""

import ast

import pytest
import torch

from maskrcnn_benchmark.config import (
    ArchitectureSpec,
    CfgNode,
    get_default_config,
)
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog, ModelCatalog
from maskrcnn_benchmark.config.yaml_files import read_with_bases
from maskrcnn_benchmark.modeling.detector import build_detection_model
from tests.contract.source_tree import ROOT, files
from tests.golden_data import golden_json

PUBLISHED = golden_json("configs")
BASES = {str(path.relative_to(ROOT)) for path in files("configs/base", ".yaml")}
# Parts of a model, which fit the other parts of this one.
PARTS = {f"configs/base/{kind}_fpn.yaml" for kind in ("rpn", "mask_head", "keypoint_head")}
MODEL_OF_PARTS = "configs/base/faster_rcnn_fpn.yaml"
SHIPPED = {str(path.relative_to(ROOT)) for path in files("configs", ".yaml")} - BASES


def _load(name: str) -> CfgNode:
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / name)
    return cfg


def _without_expected_results(cfg: CfgNode) -> dict[str, object]:
    """All values but the published scores, which the files hold in addition."""
    return {key: value for key, value in cfg.leaves() if not key.startswith("TEST.EXPECTED")}


def _published_values(tree: dict, prefix: str = ""):
    """Full key -> value as the published file means it: strings may spell literals."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _published_values(value, f"{prefix}{key}.")
        else:
            spells_tuple = isinstance(value, str) and value.startswith("(")
            yield f"{prefix}{key}", ast.literal_eval(value) if spells_tuple else value


def test_all_published_configurations_are_shipped():
    assert set(PUBLISHED) <= SHIPPED


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shipped_configuration_has_the_published_values(name):
    defaults = _without_expected_results(get_default_config())
    expected = {**defaults, **dict(_published_values(PUBLISHED[name]))}
    if "/rpn_" in name:
        expected["MODEL.FCOS_ON"] = False
    assert _without_expected_results(_load(name)) == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_text_loads_too(name):
    cfg = get_default_config()
    cfg.merge_from_other_cfg(PUBLISHED[name])
    shipped = _without_expected_results(_load(name))
    if "/rpn_" in name:
        shipped["MODEL.FCOS_ON"] = True
    assert _without_expected_results(cfg) == shipped


def test_files_are_short_because_shared_settings_are_in_bases():
    assert [name for name in SHIPPED if len((ROOT / name).read_text().splitlines()) > 40] == []


def test_every_base_is_used():
    used = {
        str(path.resolve().relative_to(ROOT))
        for name in SHIPPED
        for path, _ in read_with_bases(ROOT / name)
    }
    assert used >= BASES


@pytest.mark.parametrize(
    ("pattern", "proposal", "roi_heads"),
    [
        ("centermask/centermask_R_50_FPN_1x", "fcos", ("mask", "maskiou")),
        ("centermask/centermask_M_v2_FPN_ms_3x", "fcos", ("mask",)),
        ("e2e_faster_rcnn_R_50_FPN_1x", "rpn", ("box",)),
        ("e2e_mask_rcnn_R_50_C4_1x", "rpn", ("box", "mask")),
        ("e2e_keypoint_rcnn_R_50_FPN_1x", "rpn", ("box", "keypoint")),
        ("rpn_R_50_FPN_1x", "rpn", ()),
        ("quick_schedules/rpn_R_50_C4_quick", "rpn", ()),
        ("retinanet/retinanet_R-50-FPN_1x", "retinanet", ()),
        ("retinamask/retinamask_R_50_FPN_ms_2x", "retinanet", ("mask",)),
    ],
)
def test_a_configuration_describes_what_its_name_says(pattern, proposal, roi_heads):
    """upstream: fcos-needs-rpn-only"""
    spec = ArchitectureSpec.from_config(_load(f"configs/{pattern}.yaml"))
    assert (spec.proposal, spec.roi_heads) == (proposal, roi_heads)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_names_of_weights_and_data_sets_are_known(name):
    cfg = _load(name)
    if cfg.MODEL.WEIGHT.startswith("catalog://"):
        assert ModelCatalog.get(cfg.MODEL.WEIGHT.removeprefix("catalog://"))
    assert {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST} <= set(DatasetCatalog.DATASETS)


@pytest.mark.parametrize("name", sorted(SHIPPED | BASES))
def test_a_configuration_builds(name):
    cfg = _load(MODEL_OF_PARTS if name in PARTS else name)
    cfg.merge_from_file(ROOT / name)
    cfg.merge_from_list(["MODEL.WEIGHT", ""])
    with torch.device("meta"):
        model = build_detection_model(cfg)
    assert any(parameter.requires_grad for parameter in model.parameters())
