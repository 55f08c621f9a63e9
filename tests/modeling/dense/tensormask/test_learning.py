"""A TensorMask learns the objects of two photos by heart."""

import pytest

from maskrcnn_benchmark.engine.random_state import preserved_random_state
from tests.modeling.dense.learning import best_ious, make_config, train

pytestmark = pytest.mark.slow

STEPS = 150
SMALL = {
    "MODEL.BACKBONE.FREEZE_CONV_BODY_AT": 0,
    "MODEL.RESNETS.BACKBONE_OUT_CHANNELS": 48,
    "MODEL.DENSE.SETTINGS.CLS_CHANNELS": 48,
    "MODEL.DENSE.SETTINGS.BBOX_CHANNELS": 32,
    "MODEL.DENSE.SETTINGS.MASK_CHANNELS": 32,
    "MODEL.CHANNELS_LAST": True,
    "INPUT.MIN_SIZE_TRAIN": (128,),
    "INPUT.MAX_SIZE_TRAIN": 200,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": STEPS,
    "SOLVER.BASE_LR": 0.002,
    "SOLVER.WARMUP_ITERS": 10,
}


@pytest.fixture(autouse=True)
def _undisturbed():
    with preserved_random_state():
        yield


def test_losses_fall_and_objects_are_found(monkeypatch):
    runner, batch, course = train(make_config(monkeypatch, "tensormask", SMALL))
    for name, first in course[0].items():
        assert course[-1][name] < 0.5 * first, name
    of_boxes, of_masks = best_ious(runner, batch, threshold=0.2)
    assert of_boxes.min() > 0.5
    assert of_masks.min() > 0.5
