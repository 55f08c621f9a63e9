"""Checks that the twins share."""

from torch import Tensor


def first_refused(accepted: Tensor) -> int | None:
    """Row of the first value not accepted; looked for on the CPU only (elsewhere it would sync)."""
    if accepted.device.type != "cpu" or bool(accepted.all()):
        return None
    return int(accepted.int().argmin())


def check_images(rois: Tensor, num_images: int) -> None:
    """Raise unless every roi names an image of the batch (on the CPU)."""
    images = rois[:, 0]
    row = first_refused((images >= 0) & (images < num_images))
    if row is not None:
        wanted = f"image indices in [0, {num_images})"
        raise ValueError(f"rois: expected {wanted}, got {images[row].item()} in row {row}")
