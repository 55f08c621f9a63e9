import torch

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.structures.tight_outlines import tight_outlines


def test_outlines_are_cut_to_what_they_cover():
    bitmaps = torch.zeros(3, 6, 8, dtype=torch.bool)
    bitmaps[0, 2:4, 3:7] = True
    bitmaps[0, 2, 4] = False
    bitmaps[2, 5, 0] = True
    target = BoxList(torch.zeros(3, 4), (8, 6))
    target.add_field("labels", torch.tensor([2, 1, 1]))
    target.add_field("masks", SegmentationMask(bitmaps, (8, 6), mode="mask"))
    first, last = tight_outlines(target)
    assert first.label == 2
    assert torch.equal(first.mask, bitmaps[0, 2:4, 3:7])
    assert first.mask.untyped_storage().nbytes() == first.mask.numel()
    assert (last.label, last.mask.tolist()) == (1, [[True]])
    assert not list(tight_outlines(BoxList(torch.zeros(0, 4), (8, 6))))
