"""The layers of CenterMask behind its body, restated from a state dict in plain calls.

Takes nothing from the package, so that both can only agree by saying the same. The cases that use
it take bodies and rasterised outlines from there, which have reference outputs of their own.

Shapes: N images, C foreground classes, D points of a cell, R rois, M side of a mask.
"""

import torch
import torch.nn.functional as F
import torchvision


class Layers:
    """The convolutions of a model by the names of its state dict.

    Args:
        weights: state dict.
        cfg: settings of the model.
    """

    def __init__(self, weights, cfg):
        self.weights = weights
        self.model = cfg.MODEL

    def conv(self, name, x, stride=1, dilation=1):
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, bias, stride=stride, padding=padding, dilation=dilation)

    def linear(self, name, x):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def group_norm(self, name, x):
        return F.group_norm(x, 32, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def block(self, name, x, *, use_gn, use_relu, dilation=1, is_numbered=True):
        """A convolution, its norm and ReLU; alone it has no number in its name."""
        if use_gn or is_numbered:
            x = self.conv(f"{name}.0", x, dilation=dilation)
        else:
            x = self.conv(name, x, dilation=dilation)
        x = self.group_norm(f"{name}.1", x) if use_gn else x
        return x.relu() if use_relu else x

    def pyramid(self, features):
        """P3..P7 over C2..C5."""
        maps = self._top_down(features, 2)
        source = features[-1] if self.model.RETINANET.USE_C5 else maps[-1]
        p6 = self.conv("backbone.fpn.top_blocks.p6", source, stride=2)
        p7 = self.conv("backbone.fpn.top_blocks.p7", p6.relu(), stride=2)
        return [*maps, p6, p7]

    def two_stage_pyramid(self, features):
        """P2..P6 over C2..C5."""
        maps = self._top_down(features, 1)
        return [*maps, maps[-1][:, :, ::2, ::2]]

    def _top_down(self, features, first_number):
        fpn = self.model.FPN
        flags = {"use_gn": fpn.USE_GN, "use_relu": fpn.USE_RELU, "is_numbered": fpn.USE_RELU}
        inner, maps = None, []
        for number in range(len(features), first_number - 1, -1):
            lateral = self.block(f"backbone.fpn.fpn_inner{number}", features[number - 1], **flags)
            if inner is not None:
                lateral = lateral + inner.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            inner = lateral
            maps.insert(0, self.block(f"backbone.fpn.fpn_layer{number}", inner, **flags))
        return maps

    def fcos(self, pyramid):
        """For each level logits (N, L, C), distances (N, L, 4) and centerness (N, L)."""
        outputs = []
        for level, feature in enumerate(pyramid):
            if self.model.FCOS.HEAD == "FCOSSharedHead":
                for_classes = for_boxes = self._tower("shared_tower", feature)
            else:
                for_classes = self._tower("cls_tower", feature)
                for_boxes = self._tower("bbox_tower", feature)
            scale = self.weights[f"rpn.head.scales.{level}.scale"]
            logits = self.conv("rpn.head.cls_logits", for_classes)
            distances = torch.exp(scale * self.conv("rpn.head.bbox_pred", for_boxes))
            centerness = self.conv("rpn.head.centerness", for_boxes)
            num_classes = logits.shape[1] // self.model.FCOS.DENSE_POINTS
            outputs.append(
                (_rows(logits, num_classes), _rows(distances, 4), _rows(centerness, 1)[..., 0])
            )
        return outputs

    def _tower(self, name, feature):
        x = feature
        for index in range(self.model.FCOS.NUM_CONVS):
            x = self.conv(f"rpn.head.{name}.{3 * index}", x)
            x = self.group_norm(f"rpn.head.{name}.{3 * index + 1}", x).relu()
        return x + feature if self.model.FCOS.RESIDUAL_CONNECTION else x

    def pool(self, feature, box, image, scale, section="ROI_MASK_HEAD"):
        """(1, F, M / 2, M / 2) of one box."""
        head = self.model[section]
        side = head.POOLER_RESOLUTION
        roi = torch.cat([torch.tensor([float(image)]), box])[None]
        ratio = head.POOLER_SAMPLING_RATIO or -1
        return torchvision.ops.roi_align(feature, roi, (side, side), scale, ratio, aligned=False)

    def masks(self, pooled, labels):
        """Logits (R, M, M) of the rois' own classes."""
        head, x = self.model.ROI_MASK_HEAD, pooled
        prefix = "roi_heads.mask.feature_extractor"
        for number in range(1, len(head.CONV_LAYERS) + 1):
            flags = {"use_gn": head.USE_GN, "use_relu": True, "is_numbered": False}
            x = self.block(f"{prefix}.mask_fcn{number}", x, dilation=head.DILATION, **flags)
        if f"{prefix}.spatialAtt.conv.weight" in self.weights:
            summary = torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1)
            x = x * self.conv(f"{prefix}.spatialAtt.conv", summary).sigmoid()
        prefix = "roi_heads.mask.predictor"
        if head.PREDICTOR == "MaskRCNNC4Predictor":
            weight, bias = (self.weights[f"{prefix}.conv5_mask.{k}"] for k in ("weight", "bias"))
            x = F.conv_transpose2d(x, weight, bias, stride=2).relu()
        return self.conv(f"{prefix}.mask_fcn_logits", x)[range(len(labels)), labels]

    def mask_iou(self, pooled, probs, labels):
        """Predicted IoU (R,) of the rois' own classes."""
        prefix = "roi_heads.maskiou.feature_extractor"
        x = torch.cat([pooled, F.max_pool2d(probs[:, None], 2)], dim=1)
        num_convs = len(self.model.ROI_MASKIOU_HEAD.CONV_LAYERS)
        for number in range(1, num_convs + 1):
            stride = 2 if number == num_convs else 1
            x = self.conv(f"{prefix}.maskiou_fcn{number}", x, stride=stride).relu()
        x = x.flatten(1)
        for name in ("maskiou_fc1", "maskiou_fc2"):
            x = self.linear(f"{prefix}.{name}", x).relu()
        return self.linear("roi_heads.maskiou.predictor.maskiou", x)[range(len(labels)), labels]


def _rows(maps, width):
    """(N, H * W * D, width) of (N, D * width, H, W)."""
    return maps.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, width))
