import numpy as np
import pytest
from PIL import Image

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats import recognise
from tests.data import tiny_voc
from tests.data.formats import scenes
from tests.data.formats.scenes import SCENE, found, read, write_photos

BOXES = {name: [(label, corners, None)] for name, (label, corners) in scenes.CORNERS.items()}


def text(name):
    label, (x1, y1, x2, y2) = scenes.CORNERS[name]
    return tiny_voc.annotation(tiny_voc.entry(label, (x1 + 1, y1 + 1, x2, y2)))


def write_xml(folder, names=scenes.SIZES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).with_suffix(".xml").write_text(text(name))


@pytest.mark.parametrize(("xml", "photos"), [(".", "."), ("labels", "images")])
def test_xml_beside_or_near_photos(tmp_path, xml, photos):
    write_photos(tmp_path / photos)
    write_xml(tmp_path / xml)
    data = recognise(tmp_path)
    assert data.format.name == "voc"
    assert found(read(data.parts["all"])) == BOXES


def test_splits_by_folder(tmp_path):
    for split, name in (("train", "a.png"), ("valid", "b.png")):
        write_photos(tmp_path / split, [name])
        write_xml(tmp_path / split, [name])
    parts = recognise(tmp_path).parts
    assert found(read(parts["val"])) == {"b.png": BOXES["b.png"]}


def test_the_challenges_layout_with_masks(tmp_path):
    write_photos(tmp_path / "JPEGImages")
    write_xml(tmp_path / "Annotations")
    lists, masks = tmp_path / "ImageSets" / "Segmentation", tmp_path / "SegmentationObject"
    lists.mkdir(parents=True)
    masks.mkdir()
    for split, name in (("train", "a.png"), ("val", "b.png")):
        (lists / f"{split}.txt").write_text(f"{name.removesuffix('.png')}\n")
        values = scenes.mask(name)
        values[0] = 255  # undecided
        image = Image.fromarray(values).convert("P")
        image.putpalette(np.arange(768, dtype=np.uint8).tobytes())
        image.save(masks / name)
    parts = recognise(tmp_path).parts
    for split, name in (("train", "a.png"), ("val", "b.png")):
        assert found(read(parts[split])) == {name: SCENE[name]}


def test_difficult_objects_are_not_trained_on(tmp_path):
    write_photos(tmp_path, ["a.png"])
    objects = (tiny_voc.entry("cat", (3, 2, 6, 5)), tiny_voc.entry("dog", difficult=1))
    (tmp_path / "a.xml").write_text(tiny_voc.annotation(*objects))
    dataset = read(recognise(tmp_path).parts["all"])
    assert found(dataset) == {"a.png": BOXES["a.png"]}
    assert [one["iscrowd"] for one in dataset.ground_truth()["annotations"]] == [0, 1]


@pytest.mark.parametrize("old", ["<name>cat</name>", "<xmin>3</xmin>"])
def test_what_is_missing_is_named(tmp_path, old):
    write_photos(tmp_path, ["a.png"])
    (tmp_path / "a.xml").write_text(text("a.png").replace(old, ""))
    with pytest.raises(DatasetError, match=r"a\.xml.*(name|xmin)"):
        read(recognise(tmp_path).parts["all"])
