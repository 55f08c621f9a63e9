"""Weights for YOLACT and YOLACT++ that depend only on the original's parameter names and shapes.

`deterministic_state_dict(state_dict)` takes a mapping from the ORIGINAL's key names to tensors (or
to shapes, see `from_shapes`) and returns a complete state dict under the same names, in which every
floating tensor was drawn from a numpy PCG64 generator seeded with the CRC-32 of its key.  A model
that loads the original's checkpoints therefore gets the same weights as the original program had
when the golden files were made.

The gains keep activations O(1) through deep residual networks and give a usable spread of scores,
boxes and masks on real photos.  Only numpy and torch are needed.
"""

import re
import zlib

import numpy as np
import torch

NUM_CLASSES = 81  # background included; outputs of conf_layer are anchors x NUM_CLASSES

# (pattern on the key, weight std as a multiple of 1/sqrt(fan_in), bias mean); the first match wins.
SPECIAL_LAYERS = [
    (r"conf_layer\.", 3.2, 0.0),
    (r"bbox_layer\.", 1.5, 0.0),
    (r"mask_layer\.", 2.0, 0.0),
    (r"semantic_seg_conv\.", 1.5, -2.0),
    (r"proto_net\.10\.", 1.8, 0.1),
    (r"fpn\.lat_layers\.", 0.9, 0.0),
    (r"fpn\.pred_layers\.2\.", 0.8, 0.0),  # P3, so that its many small anchors do not win all
    (r"fpn\.pred_layers\.1\.", 1.2, 0.0),
    (r"fpn\.downsample_layers\.", 1.2, 0.0),
    (r"conv_offset_mask\.", 0.6, 0.0),
    (r"maskiou_net\.10\.", 0.15, 0.55),
]
# Anchors per cell -> how strongly the background logit follows the mean activation around it (so
# that photos of high and low contrast get equally many detections), and its bias.
BACKGROUND = {3: (21.5, 4.0), 9: (22.0, 4.5)}
RELU_GAIN = np.sqrt(2.0 * np.pi / (np.pi - 1.0))


def _draw(key, shape):
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    x = rng.standard_normal(shape)
    stem, _, leaf = key.rpartition(".")
    gain, bias = next(
        ((g, b) for pattern, g, b in SPECIAL_LAYERS if re.search(pattern, key)), (RELU_GAIN, 0.0)
    )
    if leaf == "running_var":
        return np.exp(0.2 * x)
    if leaf == "running_mean":
        return 0.1 * x
    if leaf == "weight" and len(shape) == 1:  # batch norm scale
        last = re.search(r"layers\.\d+\.(\d+)\.bn3$", stem)  # later blocks add less and less
        return (0.45 / np.sqrt(int(last[1]) + 1) if last else 1.0) * np.exp(0.1 * x)
    if leaf == "bias":
        x = bias + 0.1 * x
        if "conf_layer" in key:
            x[::NUM_CLASSES] += BACKGROUND[len(x) // NUM_CLASSES][1]
        return x
    fan_in = int(np.prod(shape[1:]))
    if "maskiou_net." in key and not key.endswith("maskiou_net.10.weight"):
        return x * np.sqrt(2.0 / fan_in)  # its input is a mask, whose constant part must stay
    # Every filter sums to zero, so that the constant part of the (positive) activations does not
    # dominate; 2 pi / (pi - 1) then preserves the variance through a ReLU.
    x = x - x.mean(axis=tuple(range(1, len(shape))), keepdims=True)
    x = x * (gain / np.sqrt(fan_in))
    if "conf_layer" in key:
        x[::NUM_CLASSES] += BACKGROUND[len(x) // NUM_CLASSES][0] / fan_in
    return x


def deterministic_state_dict(state_dict):
    """A new dict with the same keys, shapes and dtypes; integer buffers become zeros."""
    result = {}
    for key, value in state_dict.items():
        if not value.is_floating_point():
            result[key] = torch.zeros_like(value)
        else:
            array = np.asarray(_draw(key, tuple(value.shape)), dtype=np.float32)
            result[key] = torch.from_numpy(array).reshape(value.shape).to(value.dtype)
    return result


def from_shapes(entries):
    """The state dict for `[key, shape, dtype]` entries, as the golden JSON files list them."""
    empty = {key: torch.zeros(shape, dtype=getattr(torch, dtype)) for key, shape, dtype in entries}
    return deterministic_state_dict(empty)
