import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from centermask_runtime.outputs import Picture, cut_out, instance_image
from centermask_runtime.photo_files import find_photos
from centermask_runtime.photos import PhotoRun
from centermask_runtime.results import ResultFile
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.detections import Detections
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.prediction.small_model import find, outputs_in


def save_photos(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (40, 30), "navy").save(folder / name)


def test_photos_are_drawn_on_and_everything_asked_for_is_kept(tmp_path, caplog):
    save_photos(tmp_path / "in", "a.jpg", "b.png")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no photo")
    out = tmp_path / "out"
    results = ResultFile(out / "predictions.json")
    outputs = outputs_in(out, masks=True, crops=True, results=results)
    run = PhotoRun(find_photos([tmp_path / "in"], out), find, outputs)
    run.run()
    results.close()
    assert run.unreadable == [tmp_path / "in" / "bad.jpg"]
    assert "bad.jpg" in caplog.text
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        *("a.jpg", "b.png"),
        *("crops/cat_dog/a_2.png", "crops/cat_dog/b_2.png"),
        *("crops/person/a_1.png", "crops/person/b_1.png"),
        *("masks/a.png", "masks/b.png", "predictions.json"),
    ]
    with Image.open(out / "masks" / "a.png") as masks:
        pixels = np.asarray(masks)
    assert pixels.shape == (30, 40)
    assert np.unique(pixels[2:28, 2:18]).tolist() == [1]
    assert not pixels[:, 22:].any()
    written = json.loads((out / "predictions.json").read_text())
    assert [(result["category_name"], result["image_id"]) for result in written] == [
        *[("person", 1), ("cat/dog", 1)],
        *[("person", 2), ("cat/dog", 2)],
    ]


def test_files_of_one_stem_do_not_replace_each_other(tmp_path):
    save_photos(tmp_path / "in", "a.jpg", "a.png")
    out = tmp_path / "out"
    PhotoRun(find_photos([tmp_path / "in"], out), find, outputs_in(out, masks=True)).run()
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["a.jpg.png", "a.png.png"]


def test_masks_of_a_model_without_masks_are_refused(tmp_path):
    picture = Picture("a.jpg", Path("a"), Image.new("RGB", (12, 10)))
    found = overlapping(1).copy_with_fields(["labels", "scores"])
    with pytest.raises(ConfigError, match="--save-masks"):
        outputs_in(tmp_path, masks=True).keep(picture, found)


def overlapping(count):
    boxes = BoxList(torch.tensor([[1.0, 2, 8, 9]]).repeat(count, 1), (12, 10))
    boxes.add_field("labels", torch.ones(count, dtype=torch.int64))
    boxes.add_field("scores", torch.linspace(0.9, 0.1, count))
    boxes.add_field("mask", torch.ones(count, 1, 28, 28))
    return Detections(boxes, {}, {})


def test_of_many_objects_the_best_is_in_front():
    pixels = np.asarray(instance_image(overlapping(300)))
    assert pixels.dtype == np.uint16
    assert set(np.unique(pixels)) == {0, 1}
    assert np.asarray(instance_image(overlapping(300)[299:])).dtype == np.uint8
    assert not np.asarray(instance_image(overlapping(0))).any()


def test_objects_are_cut_out_to_their_box_and_mask():
    image = Image.effect_noise((12, 10), 80).convert("RGB")
    mask = np.zeros((10, 12), dtype=bool)
    mask[3:5, 2:6] = True
    crop = np.asarray(cut_out(image, (1.5, 2.0, 7.9, 6.0), mask))
    np.testing.assert_array_equal(crop[..., :3], np.asarray(image)[2:7, 1:8])
    np.testing.assert_array_equal(crop[..., 3] > 0, mask[2:7, 1:8])
    assert cut_out(image, (-5.0, -5.0, 40.0, 40.0), None).size == (12, 10)
    assert cut_out(image, (20.0, 0.0, 30.0, 5.0), None) is None
