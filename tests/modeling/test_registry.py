import pytest

from maskrcnn_benchmark.config import ConfigError, NotYetAvailableError
from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.registry import Registry


@pytest.fixture
def colours() -> Registry:
    return Registry("colour", not_yet={"ultraviolet": "better eyes"})


def test_entries_are_found_by_any_of_their_names(colours):
    @colours.register("red")
    @colours.register("crimson")
    def paint():
        return 1

    assert colours["red"] is colours.get("crimson") is paint
    assert colours.names() == tuple(colours) == ("crimson", "red")
    assert len(colours) == 2
    assert "red" in colours
    assert "blue" not in colours
    assert repr(colours) == "Registry(colour: crimson, red)"


def test_entries_can_be_given_directly(colours):
    colours.register("red", 5)
    assert colours["red"] == 5


def test_a_name_cannot_change_its_meaning(colours):
    colours.register("red", 5)
    colours.register("red", 5)
    with pytest.raises(ValueError, match="colour 'red' is already registered as 5"):
        colours.register("red", 6)
    assert colours["red"] == 5


def test_an_unknown_name_is_answered_with_the_known_ones(colours):
    with pytest.raises(ConfigError, match="unknown colour 'blue'; known: none"):
        colours.get("blue")
    colours.register("red", 5)
    colours.register("green", 6)
    with pytest.raises(ConfigError, match="unknown colour 'blue'; known: green, red"):
        colours["blue"]


def test_a_part_to_come_says_so_until_it_is_there(colours):
    assert "ultraviolet" not in colours
    with pytest.raises(NotYetAvailableError, match=r"ultraviolet.*better eyes"):
        colours["ultraviolet"]
    colours.register("ultraviolet", 7)
    assert colours["ultraviolet"] == 7


def test_registries_do_not_share_entries():
    first, second = Registry("colour"), Registry("colour")
    first.register("red", 1)
    assert "red" not in second


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("BACKBONES", None),
        ("RPN_HEADS", None),
        ("ROI_BOX_FEATURE_EXTRACTORS", "FBNet.roi_head"),
        ("ROI_BOX_PREDICTOR", None),
        ("ROI_MASK_FEATURE_EXTRACTORS", "FBNet.roi_head_mask"),
        ("ROI_MASK_PREDICTOR", None),
        ("ROI_MASKIOU_FEATURE_EXTRACTORS", None),
        ("ROI_MASKIOU_PREDICTOR", None),
        ("ROI_KEYPOINT_FEATURE_EXTRACTORS", "FBNet.roi_head_keypoints"),
        ("ROI_KEYPOINT_PREDICTOR", None),
        ("LEVEL_MAPPERS", None),
    ],
)
def test_every_registry_names_the_key_that_chooses_from_it(name, part):
    table = getattr(registry, name)
    with pytest.raises(ConfigError, match=r"MODEL\.[A-Z_.]+\) 'nonsense'"):
        table["nonsense"]
    if part:
        with pytest.raises(NotYetAvailableError, match=part):
            table[part]
