"""Evaluation equals the original program's, within the tolerances of its reference outputs."""

import numpy as np
import pytest

from tests.golden_data import golden_json, golden_npz
from tests.parity.reference import (
    cases,
    evaluate,
    make_batch,
    make_config,
    make_model,
    match_detections,
    sample,
    tolerances,
)

pytestmark = pytest.mark.golden
LEVELS = range(5)
# The reference's names of the fields of our heads' outputs.
NAMES = {
    "logits": "cls_logits",
    "ltrb": "bbox_pred",
    "deltas": "bbox_pred",
    "centerness": "centerness",
}


@pytest.mark.parametrize("case", cases())
def test_state_dict_keys_shapes_and_trainable_parameters(case):
    model = make_model(case)
    info = golden_json(case)
    ours = [
        [key, list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in model.state_dict().items()
    ]
    assert ours == info["state_dict"]
    trainable = [name for name, value in model.named_parameters() if value.requires_grad]
    assert trainable == info["trainable"]
    num_values = sum(parameter.numel() for parameter in model.parameters())
    assert num_values == info["num_parameters"]


@pytest.mark.parametrize("case", cases())
def test_reference_weights_are_the_same(case):
    state = make_model(case).state_dict()
    for name, (mean, std) in golden_json(case)["weight_check"].items():
        assert state[name].double().mean().item() == pytest.approx(mean, abs=1e-6)
        assert state[name].double().std().item() == pytest.approx(std, rel=1e-3)


@pytest.mark.parametrize("case", cases())
def test_preprocessing(case):
    images, _ = make_batch(case)
    info, data = golden_json(case), golden_npz(case)
    assert list(images.tensors.shape) == info["batch_shape"]
    for index, reference in enumerate(info["images"]):
        height, width = reference["transformed_hw"]
        assert tuple(images.image_sizes[index]) == (height, width)
        image = images.tensors[index, :, :height, :width].double()
        assert image.mean().item() == pytest.approx(reference["mean"], abs=0.02)
        assert image.std().item() == pytest.approx(reference["std"], abs=0.02)
        corner = images.tensors[index, :, :8, :8].numpy()
        assert np.abs(corner - data[f"input{index}_corner"]).max() <= 3  # JPEG decoders differ


@pytest.mark.parametrize("case", cases("train"))
def test_ground_truth(case):
    _, targets = make_batch(case)
    data = golden_npz(case)
    for index, target in enumerate(targets):
        np.testing.assert_allclose(target.bbox, data[f"gt{index}_boxes"], atol=1e-3)
        np.testing.assert_array_equal(target.labels, data[f"gt{index}_labels"])


@pytest.mark.parametrize("case", cases())
def test_features_and_head_outputs(case):
    result = evaluate(case)
    fields = result.head._asdict()
    for level in LEVELS:
        tensors = {f"fpn{level}": result.features[level]}
        tensors |= {f"{NAMES[field]}{level}": maps[level] for field, maps in fields.items()}
        for name, tensor in tensors.items():
            ours, reference = sample(case, name, tensor)
            np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("case", cases())
@pytest.mark.parametrize("image", [0, 1])
def test_detections(case, image):
    detections, data = evaluate(case).detections[image], golden_npz(case)
    num_reference = len(data[f"det{image}_boxes"])
    pairs = match_detections(case, image, detections)
    assert len(pairs) >= num_reference - 1  # one tie at the cut-off may fall the other way
    assert len(detections) <= num_reference + 1
    ours, reference = (list(inds) for inds in zip(*pairs, strict=True))
    fields = ["scores"] + ["mask_scores"] * detections.has_field("mask_scores")
    for field in fields:
        np.testing.assert_allclose(
            detections.get_field(field)[ours],
            data[f"det{image}_{field}"][reference],
            atol=tolerances(case).scores,
        )


@pytest.mark.parametrize("case", cases(prefix="centermask"))
@pytest.mark.parametrize("image", [0, 1])
def test_masks(case, image):
    detections, data = evaluate(case).detections[image], golden_npz(case)
    reference_masks = data[f"det{image}_masks"]
    masks = detections.get_field("mask").numpy()
    compared = 0
    for ours, reference in match_detections(case, image, detections):
        if reference < len(reference_masks):
            expected = reference_masks[reference]
            np.testing.assert_allclose(masks[ours], expected, atol=tolerances(case).masks)
            compared += 1
    assert compared >= len(reference_masks) - 1


@pytest.mark.parametrize("case", cases())
def test_fields(case):
    expected = {"labels", "scores"}
    if case.startswith("centermask"):
        expected |= {"mask"}
    if make_config(case).MODEL.MASKIOU_ON:
        expected |= {"mask_scores"}
    for detections in evaluate(case).detections:
        assert set(detections.fields()) == expected
