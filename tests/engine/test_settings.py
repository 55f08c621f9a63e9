import pytest

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.engine.settings import load_settings, make_settings_final


def test_a_command_line_goes_over_a_file_and_a_file_over_the_defaults(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("SEED: 4\nSOLVER:\n  MAX_ITER: 5\n")
    settings = load_settings(path, ["SOLVER.MAX_ITER", "6"])
    assert (settings.SEED, settings.SOLVER.MAX_ITER) == (4, 6)
    assert not settings.is_frozen()
    assert load_settings() == get_default_config()


def test_a_wrong_name_is_named():
    with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LRR"):
        load_settings(opts=["SOLVER.BASE_LRR", "1"])


def test_final_settings_are_those_of_the_weights_and_frozen():
    settings = load_settings(opts=["MODEL.WEIGHT", "catalog://torchvision/mobilenet_v2"])
    final = make_settings_final(settings)
    assert final is settings
    assert final.is_frozen()
    assert final.INPUT.TO_BGR255 is False
    # As a run does with the settings of a tool that has done it already.
    assert make_settings_final(final).is_frozen()
