import math

import pytest
import torch

from maskrcnn_benchmark.config import ArchitectureSpec, get_default_config
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.roi_heads.head import RoiInputs
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.keypoint_head import (
    build_roi_keypoint_head,
)
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.loss import (
    KeypointTargetAssigner,
    keypoint_loss,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints

SIZE_WH = (64, 64)


def make_head():
    cfg = get_default_config()
    section = "MODEL.ROI_KEYPOINT_HEAD"
    options = {"POOLER_RESOLUTION": 4, "RESOLUTION": 16, "CONV_LAYERS": (8, 8)}
    for key, value in options.items():
        cfg.merge_from_list([f"{section}.{key}", value])
    return build_roi_keypoint_head(cfg, 6, ArchitectureSpec.from_config(cfg))


def make_target(boxes, visible=True):
    """Persons whose points all lie in the middle of their box."""
    target = BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), SIZE_WH)
    centers = (target.bbox[:, :2] + target.bbox[:, 2:]) / 2
    points = torch.full((len(target), 17, 3), 2.0 if visible else 0.0)
    points[..., :2] = centers[:, None]
    target.add_field("labels", torch.ones(len(target), dtype=torch.int64))
    target.add_field("keypoints", PersonKeypoints(points, SIZE_WH))
    return target


def boxlist(boxes):
    return BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), SIZE_WH)


def assign(proposals, targets, heatmap_side=16):
    assigner = KeypointTargetAssigner(
        matcher=Matcher(0.5, 0.5),
        sampler=BalancedPositiveNegativeSampler(512, 0.25),
        heatmap_side=heatmap_side,
    )
    return assigner(proposals, targets)


def test_names_in_checkpoints_and_shapes():
    head = make_head()
    state = {name: tuple(value.shape) for name, value in head.state_dict().items()}
    assert state == {
        "feature_extractor.conv_fcn1.weight": (8, 6, 3, 3),
        "feature_extractor.conv_fcn1.bias": (8,),
        "feature_extractor.conv_fcn2.weight": (8, 8, 3, 3),
        "feature_extractor.conv_fcn2.bias": (8,),
        "predictor.kps_score_lowres.weight": (8, 17, 4, 4),
        "predictor.kps_score_lowres.bias": (17,),
    }
    logits = head.predictor(torch.randn(2, 8, 4, 4))
    assert logits.shape == (2, 17, 16, 16)


def test_only_matched_persons_with_points_are_trained_on():
    target = make_target([[0, 0, 20, 20], [30, 30, 50, 50]])
    target.get_field("keypoints").keypoints[1, :, 2] = 0
    proposals = boxlist([[30, 30, 50, 50], [40, 0, 60, 20], [0, 0, 20, 22]])
    result = assign([boxlist([]), proposals], [make_target([]), target])
    assert [len(boxes) for boxes in result.proposals] == [0, 1]
    assert result.indices.tolist() == [2]
    # x 10 of 20 in 16 cells, y 10 of 22
    assert result.cells.unique().tolist() == [int(10 / 22 * 16) * 16 + 8]


def test_points_outside_the_box_of_their_person_do_not_make_it_a_positive():
    target = make_target([[0, 0, 20, 20]])
    target.get_field("keypoints").keypoints[..., 0] = 21
    assert len(assign([boxlist([[0, 0, 21, 20]])], [target]).cells) == 0


def test_a_point_outside_its_proposal_is_not_valid():
    target = make_target([[0, 0, 20, 20]])
    target.get_field("keypoints").keypoints[0, 3] = torch.tensor([19.0, 19.0, 2.0])
    result = assign([boxlist([[0, 0, 18, 18]])], [target])
    assert result.valid[0].tolist() == [p != 3 for p in range(17)]


def test_loss_by_hand():
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 0, 1, 0] = math.log(5)
    cells, valid = torch.tensor([[2, 0, 3]]), torch.tensor([[True, False, True]])
    # softmax 5 / 8 at the first point, 1 / 4 at the third; the second does not count
    expected = (math.log(8 / 5) + math.log(4)) / 2
    assert keypoint_loss(logits, cells, valid).item() == pytest.approx(expected)


def test_another_number_of_points_than_predicted():
    with pytest.raises(ValueError, match=r"\b5\b.*NUM_CLASSES.*\b17\b"):
        keypoint_loss(torch.zeros(1, 5, 2, 2), torch.zeros(1, 17).long(), torch.ones(1, 17).bool())


@pytest.mark.parametrize(
    ("proposals", "target"),
    [
        ([], make_target([[0, 0, 20, 20]])),
        ([[0, 0, 20, 20]], make_target([])),
        ([[40, 40, 60, 60]], make_target([[0, 0, 20, 20]])),
        ([[0, 0, 20, 20]], make_target([[0, 0, 20, 20]], visible=False)),
    ],
    ids=["no proposals", "no truth", "no match", "no points"],
)
def test_nothing_to_learn_gives_zero_with_a_graph(proposals, target):
    head = make_head().train()
    maps = [torch.randn(1, 6, 4, 4)]
    output = head(RoiInputs(maps, [boxlist(proposals)], [target]))
    output.losses["loss_kp"].backward()
    assert output.losses["loss_kp"].item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def test_training_reaches_every_parameter():
    head = make_head().train()
    target = make_target([[0, 0, 40, 40]])
    proposals = [boxlist([[0, 0, 40, 41], [50, 50, 60, 60]])]
    output = head(RoiInputs([torch.randn(1, 6, 4, 4)], proposals, [target]))
    assert output.boxes is proposals
    output.losses["loss_kp"].backward()
    assert output.losses["loss_kp"].item() > 0
    assert all(p.grad.any() for p in head.parameters())


def test_evaluation_of_two_images_equals_two_evaluations():
    head = make_head().eval()
    maps = torch.randn(2, 6, 4, 4)
    images = [boxlist([[0, 0, 40, 40], [3, 5, 20, 60]]), boxlist([[10, 10, 50, 30]])]
    both = head(RoiInputs([maps], images)).boxes
    for i, boxes in enumerate(images):
        (single,) = head(RoiInputs([maps[i : i + 1]], [boxes])).boxes
        keypoints = both[i].get_field("keypoints")
        torch.testing.assert_close(keypoints.keypoints, single.get_field("keypoints").keypoints)
        assert keypoints.keypoints.shape == (len(boxes), 17, 3)


def test_a_heat_map_of_another_side_than_the_settings_say():
    head = make_head().train()
    head.assigner.heatmap_side = 56
    with pytest.raises(ValueError, match=r"RESOLUTION: .*\b16\b.*got 56"):
        head(RoiInputs([torch.randn(1, 6, 4, 4)], [boxlist([])], [make_target([])]))
