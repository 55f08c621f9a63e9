import pytest

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.shipped import MODELS, SHIPPED, find_config, find_model, zoo_row
from maskrcnn_benchmark.engine.settings import load_settings


@pytest.mark.parametrize("name", MODELS)
def test_every_short_name_has_a_configuration(name):
    assert load_settings(find_model(name).path).MODEL.META_ARCHITECTURE


def test_no_two_names_mean_one_configuration():
    assert len({model.config for model in MODELS.values()}) == len(MODELS)


def test_the_zoo_prefers_val2017():
    row = zoo_row(MODELS["centermask-r101"])
    assert (row["split"], row["mask"]["AP"]) == ("val2017", 38.6)
    assert zoo_row(MODELS["retinanet-r50"]) is None


def test_a_file_here_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/e2e_mask_rcnn_R_50_FPN_1x.yaml"
    assert find_config(name) == SHIPPED / name
    (tmp_path / "configs").mkdir()
    (tmp_path / name).write_text("SEED: 1\n")
    assert find_config(name).read_text() == "SEED: 1\n"
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        find_config("absent.yaml")


def test_an_unknown_name_brings_similar_ones():
    with pytest.raises(ConfigError, match="mask-rcnn-r50"):
        find_model("maskrcnn-r50")
