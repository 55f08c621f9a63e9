import importlib

import pytest

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.config.registry import Registry


@pytest.fixture
def colours() -> Registry:
    return Registry("colour")


def test_entries_are_found_by_any_of_their_names(colours):
    @colours.register("red")
    @colours.register("crimson")
    def paint():
        return 1

    assert colours["red"] is colours["crimson"] is paint
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
    with pytest.raises(ValueError, match=r"colour 'red'.* 5"):
        colours.register("red", 6)
    assert colours["red"] == 5


def test_an_unknown_name_is_answered_with_the_known_ones(colours):
    with pytest.raises(ConfigError, match="colour 'blue'"):
        colours["blue"]
    colours.register("red", 5)
    colours.register("green", 6)
    with pytest.raises(ConfigError, match=r"colour 'blue'.*green.*red"):
        colours["blue"]


def test_an_unknown_name_can_be_caught_like_that_of_a_dict(colours):
    with pytest.raises(KeyError) as error:
        colours["blue"]
    assert str(error.value) == "unknown colour 'blue'; known: none"
    assert colours.get("blue") is None
    assert colours.get("blue", 5) == 5


def test_registries_do_not_share_entries():
    first, second = Registry("colour"), Registry("colour")
    first.register("red", 1)
    assert "red" not in second


def test_a_registry_is_a_mapping_in_alphabetical_order(colours):
    colours.register("red", 5)
    colours.register("green", 6)
    assert list(colours.items()) == [("green", 6), ("red", 5)]


def test_whoever_looks_in_need_not_import_what_fills_it(tmp_path, monkeypatch):
    (tmp_path / "colour_table.py").write_text(
        "from maskrcnn_benchmark.config.registry import Registry\n"
        "COLOURS = Registry('colour', filled_by='colour_tubes')\n"
    )
    (tmp_path / "colour_tubes.py").write_text(
        "from colour_table import COLOURS\nCOLOURS.register('red', 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    table = importlib.import_module("colour_table").COLOURS
    assert (len(table), "red" in table, "blue" in table, table["red"]) == (1, True, False, 1)
