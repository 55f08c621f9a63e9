"""MODEL_ZOO.json: the rows that configurations promise, the numbers that the code gives."""

import json

import pytest

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.engine.build import make_expectations
from maskrcnn_benchmark.engine.complexity import build_complexity
from tests.contract.source_tree import ROOT

MODELS = json.loads((ROOT / "MODEL_ZOO.json").read_text())["models"]
ON_VAL = {model["config"]: model for model in MODELS if model["split"] == "val2017"}
TASKS = {"box": "bbox", "mask": "segm"}


def load(name):
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / name)
    return cfg


def test_every_configuration_is_shipped_and_every_row_is_one_model():
    assert not [m["config"] for m in MODELS if m["config"] and not (ROOT / m["config"]).is_file()]
    rows = [(model["model"], model["split"], model["epochs"]) for model in MODELS]
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("config", ON_VAL)
def test_a_configuration_expects_its_published_row(config):
    ((dataset, expectations),) = make_expectations(load(config)).items()
    assert dataset in ("coco_2014_minival", "coco_2017_val")  # the same photos
    entries = expectations.entries
    expected = {(task, name): 100 * mean for task, name, (mean, _) in entries}
    model = ON_VAL[config]
    published = {(TASKS[key], name): ap for key in TASKS for name, ap in model[key].items()}
    assert expected == pytest.approx(published)


def test_configurations_without_a_published_row_expect_nothing():
    """A file that starts from another one must not inherit what was published of that one.

    What others publish of their own programs stands in the files themselves.
    """
    files = (ROOT / "configs").rglob("*.yaml")
    unpublished = [str(path.relative_to(ROOT)) for path in files]
    unpublished = [name for name in unpublished if name not in ON_VAL]
    inheriting = [
        name for name in unpublished if " EXPECTED_RESULTS:" not in (ROOT / name).read_text()
    ]
    assert not [name for name in inheriting if make_expectations(load(name))]


@pytest.mark.parametrize("name", ["M_v2_FPN_lite_res600_ms_bs16_4x", "R_50_FPN_ms_3x"])
def test_measured_numbers_are_those_of_the_code(name):
    config = f"configs/centermask/centermask_{name}.yaml"
    measured = next(m["measured"] for m in MODELS if m["config"] == config)
    complexity = build_complexity(load(config))
    assert measured["parameters"] == complexity.parameters
    assert measured["multiply_adds"] == complexity.multiply_adds
    assert tuple(measured["image_hw"]) == complexity.image_hw


@pytest.mark.slow
@pytest.mark.parametrize("config", sorted({m["config"] for m in MODELS if m["config"]}))
def test_all_measured_numbers_are_those_of_the_code(config):
    measured = next(m["measured"] for m in MODELS if m["config"] == config)
    complexity = build_complexity(load(config))
    assert measured["parameters"] == complexity.parameters
    assert measured["multiply_adds"] == complexity.multiply_adds
