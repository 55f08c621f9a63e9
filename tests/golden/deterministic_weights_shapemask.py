"""ShapeMask weights that depend only on parameter names and shapes; numpy alone is needed.

`state(depth=50, ...)` returns {PyTorch name: float32 array}. Every array is drawn from a PCG64
generator seeded with the CRC-32 of its name. `tf_table(depth)` says which TensorFlow variable of
the authors' program (without the ":0") each array is, and `to_tf(kind, array)` brings it to that
layout.

Gains keep activations O(1) and give some tens of detections with non-trivial masks on real photos
normalised to mean 0 and deviation 1. `shape_priors` are smooth random blobs in [0, 1], not
clusters of real masks.
"""

import re
import zlib

import numpy as np

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
LEVELS = (3, 4, 5, 6, 7)
LEVEL_SCALES = (1.0, 1.3, 1.9, 2.4, 4.5)
RELU_GAIN = np.sqrt(2.0 * np.pi / (np.pi - 1.0))
# (pattern, weight deviation as a multiple of 1 / sqrt(fan_in), bias mean)
SPECIAL = [
    (r"rpn\.head\.cls_logits\.", 0.72, -9.2),
    (r"rpn\.head\.bbox_pred\.", 0.2, 0.0),
    (r"\.fpn\.(fpn_|top_blocks)", 0.9, 0.0),
    (r"mask\.reduce\.", 1.0, 0.0),
    (r"mask\.prior_classifier\.", 6.0, 0.0),
    (r"mask\.(coarse|fine)\.embed\.", 4.0, 0.0),
    (r"mask\.fine\.upsample\.", 1.0, 0.0),
    (r"mask\.coarse\.predict\.", 1.3, 0.3),
    (r"mask\.fine\.predict\.", 2.0, 0.3),
]


def _rng(name):
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def _blobs(name, shape):
    """(C, K, S, S) soft ellipses with a wavy outline."""
    classes, clusters, side, _ = shape
    r = _rng(name)
    y, x = np.mgrid[0:side, 0:side] / (side - 1.0) * 2 - 1

    def draw(low, high):
        return r.uniform(low, high, (classes, clusters, 1, 1))

    cy, cx, ry, rx = draw(-0.3, 0.3), draw(-0.3, 0.3), draw(0.4, 1.0), draw(0.4, 1.0)
    turn, wave, phase, soft = draw(0, np.pi), draw(0, 0.3), draw(0, 2 * np.pi), draw(3, 10)
    u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
    v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
    radius = np.sqrt((u / rx) ** 2 + (v / ry) ** 2)
    edge = 1 + wave * np.sin(3 * np.arctan2(v, u) + phase)
    return 1 / (1 + np.exp(-soft * (edge - radius)))


def draw(name, shape):
    """The float32 array of a PyTorch parameter or buffer."""
    shape = tuple(shape)
    if name.endswith("shape_priors"):
        return _blobs(name, shape).astype(np.float32)
    x = _rng(name).standard_normal(shape)
    leaf = name.rpartition(".")[2]
    gain, bias = next(((g, b) for p, g, b in SPECIAL if re.search(p, name)), (RELU_GAIN, 0.0))
    if leaf == "running_var":
        x = np.exp(0.2 * x)
    elif leaf == "running_mean":
        x = 0.1 * x
    elif (
        leaf == "weight" and len(shape) == 1
    ):  # batch norm; small at the end of a residual branch, most in deep stages
        branch = re.search(r"layer\d\.(\d+)\.bn3\.", name)
        level = re.search(
            r"fpn\.norms\.(\d)", name
        )  # lifts the coarse levels, so that boxes of all sizes are found
        scale = (
            0.3
            if branch and int(branch[1]) < 6
            else 0.1
            if branch
            else LEVEL_SCALES[int(level[1])]
            if level
            else 1.0
        )
        x = scale * np.exp(0.1 * x)
    elif leaf == "bias":
        x = bias + 0.1 * x
    else:
        # Filters sum to zero, so that the constant part of positive inputs does not dominate; not
        # where there is one input.
        axes = (0,) if "upsample" in name else tuple(range(1, len(shape)))
        if re.search(
            r"mask\.\w+\.(convs|upsample)", name
        ):  # mostly the same at all places of a kernel: smooth masks
            constant = _rng(name + ".mean").standard_normal((*shape[:2], 1, 1))
            x = (0.45 * x + 0.9 * constant) / 2.7 if "convs" in name else 0.05 * x + constant
        fan_in = int(np.prod([shape[a] for a in axes]))
        if fan_in > 1:
            x = x - x.mean(axis=axes, keepdims=True)
        x = x * (gain / np.sqrt(fan_in))
    return x.astype(np.float32)


def _norm(name, channels):
    return {
        f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")
    }


def _conv(name, shape, bias=True):
    out = {f"{name}.weight": shape}
    if bias:
        out[f"{name}.bias"] = (shape[0],)
    return out


def body_layers(depth):
    """[(prefix of the convolution, of its norm, shape)] in the order of TensorFlow's creation."""
    layers = [("backbone.body.stem.conv1", "backbone.body.stem.bn1", (64, 3, 7, 7))]
    channels = 64
    for stage, blocks in enumerate(BLOCKS[depth], 1):
        width = 64 * 2 ** (stage - 1)
        for block in range(blocks):
            b = f"backbone.body.layer{stage}.{block}"
            if block == 0:
                layers.append(
                    (f"{b}.downsample.0", f"{b}.downsample.1", (4 * width, channels, 1, 1))
                )
            layers += [
                (f"{b}.conv1", f"{b}.bn1", (width, channels, 1, 1)),
                (f"{b}.conv2", f"{b}.bn2", (width, width, 3, 3)),
                (f"{b}.conv3", f"{b}.bn3", (4 * width, width, 1, 1)),
            ]
            channels = 4 * width
    return layers


def shapes(depth=50, num_classes=81, num_priors=20, class_agnostic=False, anchors=9):  # noqa: C901 - a table
    """{name: shape} of every floating entry of the state dict."""
    s = {}
    for conv, norm, shape in body_layers(depth):
        s.update(_conv(conv, shape, bias=False)), s.update(_norm(norm, shape[0]))
    for i, channels in (
        (2, 512),
        (3, 1024),
        (4, 2048),
    ):  # i counts the body's maps from 1: C3 is 2, as in this code base
        s.update(_conv(f"backbone.fpn.fpn_inner{i}", (256, channels, 1, 1)))
        s.update(_conv(f"backbone.fpn.fpn_layer{i}", (256, 256, 3, 3)))
    for p in ("p6", "p7"):
        s.update(_conv(f"backbone.fpn.top_blocks.{p}", (256, 256, 3, 3)))
    for level in range(len(LEVELS)):
        s.update(_norm(f"backbone.fpn.norms.{level}", 256))
    for tower, last, outputs in (
        ("cls", "cls_logits", anchors * num_classes),
        ("bbox", "bbox_pred", anchors * 4),
    ):
        for i in range(4):
            s.update(_conv(f"rpn.head.{tower}_tower.{i}", (256, 256, 3, 3)))
            for level in range(len(LEVELS)):
                s.update(_norm(f"rpn.head.{tower}_norms.{i}.{level}", 256))
        s.update(_conv(f"rpn.head.{last}", (outputs, 256, 3, 3)))
    m, masks = "roi_heads.mask", 1 if class_agnostic else num_classes
    s[f"{m}.shape_priors"] = (num_classes, num_priors, 32, 32)
    s.update(_conv(f"{m}.reduce", (128, 256)))
    s.update(_conv(f"{m}.prior_classifier", (masks * num_priors, 128)))
    for part in ("coarse", "fine"):
        s.update(_conv(f"{m}.{part}.embed", (128, 1)))
        for i in range(4):
            s.update(_conv(f"{m}.{part}.convs.{i}", (128, 128, 3, 3)))
            s.update(_norm(f"{m}.{part}.norms.{i}", 128))
        if part == "fine":
            s.update(_conv(f"{m}.{part}.upsample", (128, 128, 4, 4)))
        s.update(_conv(f"{m}.{part}.predict", (masks, 128, 1, 1)))
    return s


def state(**kwargs):
    """{name: float32 array}; arguments as in `shapes`.

    Class-agnostic models repeat the priors of class 0 for every class.
    """
    out = {name: draw(name, shape) for name, shape in shapes(**kwargs).items()}
    if kwargs.get("class_agnostic"):
        priors = out["roi_heads.mask.shape_priors"]
        priors[:] = priors[:1]
    return out


def tf_table(depth=50):
    """[(TensorFlow variable, PyTorch name, kind)]; kind is conv, transposed, dense or vector.

    The priors are no variable.
    """
    table = []
    for i, (conv, bn, _) in enumerate(body_layers(depth)):
        end = f"_{i}" if i else ""
        table += _layer(f"resnet{depth}/conv2d{end}", conv, bias=False)
        table += _tf_norm(f"resnet{depth}/batch_normalization{end}", bn)
    for level in (3, 4, 5):
        table += _layer(f"fpn/l{level}", f"backbone.fpn.fpn_inner{level - 1}")
        table += _layer(f"fpn/post_hoc_d{level}", f"backbone.fpn.fpn_layer{level - 1}")
    for level in (6, 7):
        table += _layer(f"fpn/p{level}", f"backbone.fpn.top_blocks.p{level}")
    for i, level in enumerate(LEVELS):
        table += _tf_norm(f"fpn/p{level}-bn", f"backbone.fpn.norms.{i}")
    for tf_part, tower, last in (("class", "cls", "cls_logits"), ("box", "bbox", "bbox_pred")):
        net = f"retinanet/{tf_part}_net/{tf_part}"
        for i in range(4):
            table += _layer(f"{net}-{i}", f"rpn.head.{tower}_tower.{i}")
            for j, level in enumerate(LEVELS):
                table += _tf_norm(f"{net}-{i}-{level}", f"rpn.head.{tower}_norms.{i}.{j}")
        table += _layer(f"{net}-predict", f"rpn.head.{last}")
    return table + _tf_masks("roi_heads.mask")


def _tf_masks(m):
    table = _layer("prior_mask/dense", f"{m}.reduce", "dense")
    table += _layer("prior_mask/dense_1", f"{m}.prior_classifier", "dense")
    for part in ("coarse", "fine"):
        table += _layer(f"{part}_mask/dense", f"{m}.{part}.embed", "dense")
        for i in range(4):
            table += _layer(f"{part}_mask/class-{i}", f"{m}.{part}.convs.{i}")
            table += _tf_norm(f"{part}_mask/class-{i}-bn", f"{m}.{part}.norms.{i}")
        if part == "fine":
            table += _layer("fine_mask/conv2d_transpose", f"{m}.{part}.upsample", "transposed")
        table += _layer(f"{part}_mask/class-predict", f"{m}.{part}.predict")
    return table


def _tf_norm(tf_name, name):
    leaves = ("gamma", "beta", "moving_mean", "moving_variance")
    ours = ("weight", "bias", "running_mean", "running_var")
    return [(f"{tf_name}/{a}", f"{name}.{b}", "vector") for a, b in zip(leaves, ours, strict=True)]


def _layer(tf_name, name, kind="conv", bias=True):
    table = [(f"{tf_name}/kernel", f"{name}.weight", kind)]
    return table + ([(f"{tf_name}/bias", f"{name}.bias", "vector")] if bias else [])


def to_tf(kind, array):
    """PyTorch layout to TensorFlow's.

    OIHW -> HWIO; (I, O, H, W) of a transposed convolution -> HWOI; (out, in) -> (in, out).
    """
    if kind == "conv":
        return array.transpose(2, 3, 1, 0)
    if kind == "transposed":
        return array.transpose(2, 3, 1, 0)
    return array.T if kind == "dense" else array


def from_tf(kind, array):
    """The inverse of `to_tf`."""
    if kind in ("conv", "transposed"):
        return array.transpose(3, 2, 0, 1)
    return array.T if kind == "dense" else array
