"""What all bodies have in common."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn


class Body(nn.Module):
    """A network without its classifier: images (N, 3, H, W) to a tuple of maps, finest first.

    Attributes:
        out_channels_per_stage: channels of the maps.
        strides: px per cell of the maps.
        stem: the first layers, where stages in a row follow, each of which gives a map.
        stage_names: names of these stages.
    """

    out_channels_per_stage: Sequence[int]
    strides: Sequence[int] = (4, 8, 16, 32)
    stem: nn.Module
    stage_names: Sequence[str]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps (C2, C3, C4, C5) of an image batch (N, 3, H, W)."""
        x = self.stem(images)
        features = []
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
            features.append(x)
        return tuple(features)

    def freeze_first(
        self, num_parts: int, parts: Iterable[nn.Module], *, with_norms: bool = True
    ) -> None:
        """Takes the first ``num_parts`` of the parts of this body out of training.

        This is what MODEL.BACKBONE.FREEZE_CONV_BODY_AT counts: the stem, then the stages. Numbers
        below 0 freeze nothing, larger ones than there are parts freeze all. Batch norms that are
        trained stay so without ``with_norms``.
        """
        for part in list(parts)[: max(num_parts, 0)]:
            for module in part.modules():
                if with_norms or not isinstance(module, nn.BatchNorm2d):
                    for parameter in module.parameters(recurse=False):
                        parameter.requires_grad_(False)
