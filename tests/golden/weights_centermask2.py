"""Weights that depend only on CenterMask2's parameter names and shapes.

As deterministic_weights.py (numpy PCG64 seeded with the CRC-32 of the key, filters centred), with
lines for detectron2's key names.  FCOS regresses relu(scale * x) strides here, not exp(...) px.
"""

import re
import zlib

import numpy as np
import torch

SPECIAL_LAYERS = [
    (r"fcos_head\.cls_logits\.", 3.2, -11.0),
    (r"fcos_head\.bbox_pred\.", 1.2, 3.5),  # strides
    (r"fcos_head\.ctrness\.", 1.5, 0.5),
    (r"\.fpn_(lateral|output)\d\.", 0.9, 0.0),
    (r"\.ese\.fc\.", 1.0, 1.5),
    (r"\.spatialAtt\.conv\.", 0.4, 0.0),
    (r"mask_head\.predictor\.", 4.0, 0.0),
    (r"maskiou_head\.maskiou\.", 0.15, 0.55),
]
RELU_GAIN = np.sqrt(2.0 * np.pi / (np.pi - 1.0))


def _draw(key, shape):
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    x = rng.standard_normal(shape)
    leaf = key.rpartition(".")[2]
    gain, bias = next(
        ((g, b) for pattern, g, b in SPECIAL_LAYERS if re.search(pattern, key)), (RELU_GAIN, 0.0)
    )
    if re.search(r"\.scales\.\d+\.scale$", key):
        return 0.85 + 0.12 * int(key.split(".")[-2]) + 0.01 * x
    if leaf == "running_var":
        return np.exp(0.2 * x)
    if leaf == "running_mean":
        return 0.1 * x
    if len(shape) == 1 and leaf == "weight":
        return np.exp(0.1 * x)
    if leaf == "bias":
        return bias + 0.1 * x
    inputs = (0,) if "mask_head.deconv." in key else tuple(range(1, len(shape)))
    fan_in = int(np.prod([shape[i] for i in inputs]))
    if len(shape) == 4 and shape[1] == 1:  # depthwise
        return x / np.sqrt(fan_in)
    x = x - x.mean(axis=inputs, keepdims=True)
    if len(shape) == 4 and shape[1] == 3:  # first layer: pixels have std ~ 64
        return x * (np.sqrt(2.0 / fan_in) / 64.0)
    return x * (gain / np.sqrt(fan_in))


def deterministic_state_dict(model_state_dict):
    """A new dict with the same keys, shapes and dtypes."""
    result = {}
    for key, value in model_state_dict.items():
        if not value.is_floating_point() or key.startswith("pixel_"):
            result[key] = value.clone()
        else:
            result[key] = (
                torch.from_numpy(np.asarray(_draw(key, tuple(value.shape)), dtype=np.float32))
                .reshape(value.shape)
                .to(value.dtype)
            )
    return result
