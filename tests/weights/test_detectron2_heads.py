import pytest
import torch

from maskrcnn_benchmark.weights.detectron2 import convert_detectron2

ONE = torch.ones(1)
TENSORMASK = {
    "head.cls_subnet.6.bias": "rpn.head.cls_tower.6.bias",
    "head.bbox_subnet.0.weight": "rpn.head.bbox_tower.0.weight",
    "head.mask_subnet.2.weight": "rpn.head.mask_tower.2.weight",
    "head.cls_score.bias": "rpn.head.cls_logits.bias",
    "head.bbox_pred.weight": "rpn.head.bbox_pred.weight",
    "head.mask_pred_11.weight": "rpn.head.mask_pred.11.weight",
    "head.mask_pred_15.bias": "rpn.head.mask_pred.15.bias",
    "head.mask_fuse.0.weight": "rpn.head.mask_fuse.0.weight",
}


@pytest.mark.parametrize("mark", ["head.mask_fuse.0.weight", "head.mask_pred_11.weight"])
def test_layers_of_tensormask_are_taken_as_they_are(mark: str):
    values = {name: torch.arange(18.0) for name in TENSORMASK if "mask" not in name or name == mark}
    weights = convert_detectron2(values, same_rules=True)
    assert set(weights.tensors) == {TENSORMASK[name] for name in values}
    assert all(torch.equal(value, torch.arange(18.0)) for value in weights.tensors.values())
    assert weights.refused == {}


def test_anchors_of_tensormask_are_left_out_and_other_layers_refused():
    names = ("anchor_generator.cell_anchors.0", "head.mask_fuse.0.weight", "head.mask_iou.weight")
    weights = convert_detectron2(dict.fromkeys(names, ONE), same_rules=True)
    assert weights.ignored == names[:1]
    assert set(weights.tensors) == {TENSORMASK[names[1]]}
    assert list(weights.refused.values()) == [names[2:]]
    assert convert_detectron2(dict.fromkeys(names, ONE)).tensors == {}
