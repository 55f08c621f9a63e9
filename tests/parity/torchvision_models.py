"""Detectors of torchvision with seeded weights, under which they find something in any photo."""

import re

import numpy as np
import torch
import torchvision

# Part of a name -> gain of the layer's filters: scores are spread, and boxes and masks of a shape
# that rounding in the body does not change.
_GAINS = {
    r"rpn\.head\.cls_logits": 0.5,
    r"rpn\.head\.bbox_pred": 0.1,
    r"box_predictor\.cls_score": 0.6,
    r"box_predictor\.bbox_pred": 0.1,
    r"mask_fcn_logits": 0.7,
    r"kps_score": 0.5,
    r"cls_logits": 0.5,
    r"bbox_reg": 0.1,
    r"bbox_ctrness": 0.3,
    r"\.fpn\.": 0.6,
}
_DEFAULT_GAIN = 1.7
_TRANSPOSED = ("conv5_mask", "kps_score_lowres")
_CLASS_BIAS = "head.classification_head.cls_logits.bias"
_BOX_BIAS = "head.regression_head.bbox_reg.bias"
_NUM_OUTPUTS = 91  # COCO's ids and the background, 0


def make_torchvision_detector(name, **options):
    """The model in evaluation mode; ``options`` are those of its builder."""
    build = getattr(torchvision.models.detection, name)
    model = build(weights=None, weights_backbone=None, **options)
    generator = torch.Generator().manual_seed(0)
    state = {key: _draw(key, value, generator) for key, value in model.state_dict().items()}
    if _CLASS_BIAS in state:
        state[_CLASS_BIAS] -= 2.0 if name.startswith("fcos") else 3.0
        # No training raises the background's output; a random one would fire.
        state[_CLASS_BIAS].view(-1, _NUM_OUTPUTS)[:, 0] = -30.0
    if name.startswith("fcos"):
        state[_BOX_BIAS] += 2.0
    model.load_state_dict(state)
    return model.eval()


def _draw(key, value, generator):
    if not value.is_floating_point():
        return value
    noise = torch.randn(value.shape, generator=generator)
    if key.endswith("running_var"):
        return torch.exp(0.2 * noise)
    if value.dim() == 1:
        if key.endswith("weight"):
            return (0.3 if "bn3" in key else 1.0) * torch.exp(0.1 * noise)
        return 0.1 * noise
    is_transposed = any(part in key for part in _TRANSPOSED)
    inputs = (0,) if is_transposed else tuple(range(1, value.dim()))
    gain = next((gain for part, gain in _GAINS.items() if re.search(part, key)), _DEFAULT_GAIN)
    fan_in = np.prod([value.shape[dim] for dim in inputs])
    return (noise - noise.mean(inputs, keepdim=True)) * gain / np.sqrt(fan_in)
