import re
from dataclasses import dataclass

import pytest

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.config.families import FAMILIES, NoSettings, read_settings


@dataclass(frozen=True)
class TinySettings:
    num_convs: int = 2
    scale: float = 1.0
    kind: str = "plain"
    sizes: tuple[int, ...] = (8, 16)


def read(*options, kind=TinySettings):
    cfg = get_default_config()
    cfg.merge_from_list([*options])
    return read_settings(cfg.MODEL.DENSE.SETTINGS, kind)


def test_settings_come_from_a_section_of_free_keys(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text("MODEL: {DENSE: {SETTINGS: {NUM_CONVS: 3, SIZES: [4]}}}")
    cfg = get_default_config()
    cfg.merge_from_file(path)
    cfg.merge_from_list(["MODEL.DENSE.SETTINGS.SCALE", "2", "MODEL.DENSE.SETTINGS.NUM_CONVS", 4])
    expected = TinySettings(num_convs=4, scale=2.0, sizes=(4,))
    assert read_settings(cfg.MODEL.DENSE.SETTINGS, TinySettings) == expected
    assert read() == TinySettings()


def test_an_unknown_key_is_answered_with_the_nearest():
    with pytest.raises(KeyError) as error:
        read("MODEL.DENSE.SETTINGS.NUM_CONV", 3)
    key = "MODEL.DENSE.SETTINGS.NUM_CONV"
    assert {key, f"{key}S"} <= set(re.findall(r"[\w.]+", str(error.value)))
    with pytest.raises(ConfigError, match=r"MODEL\.DENSE\.SETTINGS\.NUM\b"):
        read("MODEL.DENSE.SETTINGS.NUM", 3, kind=NoSettings)


def test_a_value_of_another_type_is_an_error():
    with pytest.raises(ConfigError, match=r"MODEL\.DENSE\.SETTINGS\.NUM_CONVS .*2\.5"):
        read("MODEL.DENSE.SETTINGS.NUM_CONVS", 2.5)


def test_an_unknown_detector_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"MODEL\.DENSE\.FAMILY.*yolo.*fcos, retinanet"):
        FAMILIES["yolo"]
