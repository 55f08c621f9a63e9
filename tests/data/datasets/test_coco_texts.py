"""Files whose images have texts for ids, from the file to the results."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.cli import main
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.errors import ImageReadError
from tests.data.tiny_coco import annotation, content, image, write

IDS = ("scan/7f.png", "b-2")


@pytest.fixture
def files(tmp_path):
    images = [image(own_id, file_name=f"{place}.png") for place, own_id in enumerate(IDS)]
    objects = [annotation(1, IDS[1]), annotation(2, IDS[0], bbox=(1, 1, 4, 4))]
    ann_file, root = write(tmp_path, content(images, objects), with_images=False)
    for place in range(len(IDS)):
        pixels = np.random.default_rng(place).integers(0, 256, (8, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{place}.png")
    return ann_file, root


def test_results_have_the_texts(files, tmp_path):
    dataset = COCODataset(*files, False)
    evaluator = dataset.make_evaluator(("bbox",), output_folder=tmp_path)
    targets = [dataset.get_target(index) for index in range(2)]
    found = [target.with_field("scores", 0.5 + 0 * target.labels) for target in targets]
    evaluator.process(dataset.image_ids, found)
    assert evaluator.evaluate().metrics["bbox"]["AP"] == pytest.approx(100)
    results = json.loads((tmp_path / "bbox.json").read_text())
    boxes = {result["image_id"]: result["bbox"] for result in results}
    assert boxes == {IDS[0]: [1, 1, 4, 4], IDS[1]: [2, 1, 4, 4]}
    assert set(torch.load(tmp_path / "predictions.pth")) == set(IDS)


def test_messages_have_the_texts(files):
    dataset = COCODataset(*files, False)
    (files[1] / "1.png").unlink()
    with pytest.raises(ImageReadError, match="image id b-2 "):
        dataset.read_image(1)


def test_they_are_looked_through_and_cleaned(files, tmp_path, capsys):
    ann_file, root = files
    data = json.loads(ann_file.read_text())
    data["annotations"].append(annotation(3, "nowhere"))
    ann_file.write_text(json.dumps(data))
    clean = tmp_path / "clean"
    assert main(["check-data", f"{ann_file}@{root}", "--fix", str(clean)]) == 1
    assert "annotations of photos that are not in the list: 1" in capsys.readouterr().out
    (copied,) = (json.loads(path.read_text()) for path in clean.rglob("*.json"))
    assert {entry["id"] for entry in copied["images"]} == set(IDS)
    assert {entry["image_id"] for entry in copied["annotations"]} == set(IDS)
