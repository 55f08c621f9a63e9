import json

import pytest

from tools import analyze_model as tool

CONFIG = "configs/centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml"


def test_one_model_is_printed_part_by_part(capsys):
    tool.main(["--config-file", CONFIG, "--input-size", "64", "96", "MODEL.MASK_ON", "False",
               "MODEL.FCOS_MASK", "False"])  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("96 x 64 px")
    assert [line.split()[0] for line in lines[1:]] == ["backbone", "rpn", "sum"]


def test_a_zoo_file_is_completed(tmp_path):
    path = tmp_path / "zoo.json"
    rows = [{"model": "a", "config": CONFIG}, {"model": "b", "config": None}]
    path.write_text(json.dumps({"about": "ä", "models": rows}))
    tool.main(["--zoo", str(path)])
    zoo = json.loads(path.read_text())
    assert zoo["about"] == "ä"
    assert zoo["models"][0]["measured"]["image_hw"] == [608, 1024]
    assert zoo["models"][1] == rows[1]


def test_something_to_analyze_must_be_named(capsys):
    with pytest.raises(SystemExit):
        tool.parse_args([])
    assert "--config-file --zoo" in capsys.readouterr().err
