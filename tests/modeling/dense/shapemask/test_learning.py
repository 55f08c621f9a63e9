"""A ShapeMask learns the objects of two photos by heart."""

import pytest

from maskrcnn_benchmark.engine.random_state import preserved_random_state
from tests.modeling.dense import learning

pytestmark = pytest.mark.slow

SMALL = {
    "MODEL.RESNETS.BACKBONE_OUT_CHANNELS": 32,
    "MODEL.DENSE.SETTINGS.MASK_CHANNELS": 16,
    "MODEL.DENSE.SETTINGS.NUM_PRIORS": 4,
    "MODEL.CHANNELS_LAST": True,
    "INPUT.MIN_SIZE_TEST": 128,
    "DATALOADER.SIZE_DIVISIBILITY": 128,
    "SOLVER.IMS_PER_BATCH": 2,
    # After 90 masks of one object overlap by 0.44 with one processor, by over 0.5 with another.
    # After 120 all by 0.88 and more.
    "SOLVER.MAX_ITER": 120,
    "SOLVER.BASE_LR": 0.003,
    "SOLVER.WARMUP_ITERS": 10,
}


@pytest.fixture(autouse=True)
def _undisturbed():
    with preserved_random_state():
        yield


def test_losses_fall_and_objects_are_found(monkeypatch):
    runner, batch, course = learning.train(learning.make_config(monkeypatch, "shapemask", SMALL))
    for name in ("loss_cls", "loss_box", "loss_coarse", "loss_fine"):
        assert course[-1][name] < 0.5 * course[0][name], name
    of_boxes, of_masks = learning.best_ious(runner, batch, threshold=0.2)
    assert of_boxes.min() > 0.5
    assert of_masks.min() > 0.5
