import pytest

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.modeling.strides import Level, check_scales, check_strides

LEVELS = (Level(8, 4), Level(8, 8), Level(8, 16))


def test_strides_must_be_those_of_all_maps():
    check_strides("MODEL.KEY", [4, 8, 16], LEVELS)
    for wrong in ((4, 8), (4, 8, 32), (8, 16, 32), (4, 8, 16, 32)):
        with pytest.raises(ConfigError) as error:
            check_strides("MODEL.KEY", wrong, LEVELS)
        assert str(error.value) == (
            f"MODEL.KEY: expected (4, 8, 16), the strides of the backbone's maps, got {wrong}"
        )


def test_scales_may_be_those_of_the_finest_maps():
    check_scales("MODEL.KEY", [0.25, 0.125, 0.0625], LEVELS)
    check_scales("MODEL.KEY", (0.25,), LEVELS)
    for wrong in ((0.125,), (0.25, 0.0625), (0.25, 0.125, 0.0625, 0.03125)):
        with pytest.raises(ConfigError, match=r"MODEL.KEY: expected \(0.25, 0.125, 0.0625\) or"):
            check_scales("MODEL.KEY", wrong, LEVELS)


def test_nothing_is_checked_where_the_backbone_does_not_say():
    check_strides("MODEL.KEY", [5], None)
    check_scales("MODEL.KEY", [5], None)
