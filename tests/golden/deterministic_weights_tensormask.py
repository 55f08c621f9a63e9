"""Weights for TensorMask that depend only on parameter names (the original's) and shapes.

`deterministic_state_dict(names_and_shapes)` returns a complete state dict in which every tensor has
been drawn from a numpy PCG64 generator seeded with the CRC-32 of its key, in the manner of
deterministic_weights.py.  Keys are those of detectron2's projects/TensorMask, so a test writes
these tensors to a file in that layout and loads it, or renames them to its own names first.  (numpy
promises a stable PCG64 bit stream but not a stable standard_normal, and exp or cos may differ in
the last bit: if a test on these weights fails on a new numpy, compare `weight_check` first.)

The gains keep activations O(1), bring detections to every level of the pyramid, and make masks of
smooth outlines that depend on the image, with different statistics along rows and columns.
Only numpy and torch are needed.
"""

import re
import zlib

import numpy as np
import torch

# (regular expression on the key, weight std as a multiple of 1/sqrt(fan_in), bias mean, bias std);
# the first match wins
SPECIAL_LAYERS = [
    (r"^head\.cls_score\.", 1.5, -7.6, 0.7),
    (r"^head\.bbox_pred\.", 0.35, 0.0, 0.1),
    (r"^backbone\.fpn_lateral", 0.9, 0.0, 0.1),  # no activation follows
    # The finer a level, the less is left after halving at each addition.
    (r"^backbone\.fpn_output2\.", 2.1, 0.0, 0.1),
    (r"^backbone\.fpn_output3\.", 2.0, 0.0, 0.1),
    (r"^backbone\.fpn_output4\.", 1.7, 0.0, 0.1),
    (r"^backbone\.fpn_output5\.", 1.4, 0.0, 0.1),
    (r"^backbone\.top_block\.p6\.", 1.5, 0.0, 0.1),
    (r"^backbone\.top_block\.p7\.", 2.4, 0.0, 0.1),
]
# The last norm of a residual branch; res4 has up to 23 blocks, whose variances add up.
NORM_SCALES = [(r"\.res4\.\d+\.conv3\.norm$", 0.12), (r"\.conv3\.norm$", 0.3)]
RELU_GAIN = np.sqrt(2.0 * np.pi / (np.pi - 1.0))
MASK_LAYER = re.compile(r"^head\.mask_pred_(\d+)\.(weight|bias)$")
MASK_GAIN = 2.0


def _draw(key, shape):
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    mask_layer = MASK_LAYER.match(key)
    if mask_layer:
        return _draw_mask_layer(rng, shape, mask_layer.group(2))
    x = rng.standard_normal(shape)
    stem, leaf = key.rpartition(".")[0], key.rpartition(".")[2]
    special = (entry[1:] for entry in SPECIAL_LAYERS if re.search(entry[0], key))
    gain, bias_mean, bias_std = next(special, (RELU_GAIN, 0.0, 0.1))

    if leaf == "running_var":
        return np.exp(0.2 * x)
    if leaf == "running_mean":
        return 0.1 * x
    if len(shape) == 1 and leaf == "weight":  # batch norm scale
        scale = next((g for pattern, g in NORM_SCALES if re.search(pattern, stem)), 1.0)
        return scale * np.exp(0.1 * x)
    if leaf == "bias":
        return bias_mean + bias_std * x
    # Convolutions.  Every filter sums to zero, so that the constant part of the (positive)
    # activations does not dominate the output; 2 pi / (pi - 1) then preserves the variance
    # through a ReLU, as He's 2 does for uncentred filters.
    fan_in = int(np.prod(shape[1:]))
    x = x - x.mean(axis=(1, 2, 3), keepdims=True)
    if shape[1] == 3:  # first layer: pixels have std ~ 64
        return x * (np.sqrt(2.0 / fan_in) / 64.0)
    return x * (gain / np.sqrt(fan_in))


def _draw_mask_layer(rng, shape, leaf):
    """Filters that vary smoothly over the window, and a bias that is a tilted oval."""
    side = round(np.sqrt(shape[0]))
    t = (np.arange(side) + 0.5) / side  # place in the window, 0..1
    if leaf == "bias":
        dv, du = t[:, None] - 0.47, t[None, :] - 0.52
        blob = 2.2 - 16.0 * dv * dv - 11.0 * du * du + 8.0 * dv * du
        return blob.reshape(-1) + 0.1 * rng.standard_normal(shape)
    waves = np.stack([np.cos(np.pi * k * t) / (1.0 + 0.5 * k) for k in range(4)])
    patterns = np.einsum("iv,ju->ijvu", waves, waves).reshape(16, side * side)
    filters = rng.standard_normal((16, shape[1]))
    filters -= filters.mean(axis=1, keepdims=True)
    x = (patterns.T @ filters).reshape(shape)
    return x * (MASK_GAIN / np.sqrt(shape[1])) + 0.02 * rng.standard_normal(shape)


def deterministic_state_dict(names_and_shapes):
    """Tensors by name, float32.

    `names_and_shapes` is a model's state dict under the original's names, or the list `state_dict`
    of a golden JSON: entries [name, shape, dtype].
    """
    if hasattr(names_and_shapes, "items"):
        names_and_shapes = [(k, tuple(v.shape)) for k, v in names_and_shapes.items()]
    result = {}
    for entry in names_and_shapes:
        key, shape = entry[0], tuple(entry[1])
        array = np.asarray(_draw(key, shape), dtype=np.float32)
        result[key] = torch.from_numpy(array).reshape(shape)
    return result
