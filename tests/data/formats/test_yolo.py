import pytest

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats import recognise
from tests.data.formats import scenes
from tests.data.formats.scenes import SCENE, found, polygon, read, write_photos


def line(name, *, as_box=False):
    """The object of a photo as YOLO writes it."""
    label, corners = scenes.CORNERS[name]
    width, height = scenes.SIZES[name]
    x1, y1, x2, y2 = corners
    if as_box:
        numbers = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height]
        numbers += [(x2 - x1) / width, (y2 - y1) / height]
    else:
        flat = polygon(corners)
        numbers = [value / (width, height)[place % 2] for place, value in enumerate(flat)]
    return " ".join(map(str, [("cat", "dog").index(label), *numbers]))


def write_split(images, labels, names, **options):
    write_photos(images, names)
    labels.mkdir(parents=True, exist_ok=True)
    for name in names:
        (labels / name).with_suffix(".txt").write_text(line(name, **options) + "\n\n")


def test_splits_of_a_yaml_file(tmp_path):
    for split, name in (("train", "a.png"), ("val", "b.png")):
        write_split(tmp_path / "images" / split, tmp_path / "labels" / split, [name])
    text = "path: /not/here\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n"
    (tmp_path / "data.yaml").write_text(text)
    data = recognise(tmp_path)
    assert data.format.name == "yolo"
    for split, name in (("train", "a.png"), ("val", "b.png")):
        dataset = read(data.parts[split])
        assert found(dataset) == {name: SCENE[name]}
        assert dataset.contiguous_category_id_to_json_id == {1: 0, 2: 1}


def test_roboflow_writes_paths_that_begin_outside(tmp_path):
    for split, name in (("train", "a.png"), ("valid", "b.png")):
        write_split(tmp_path / split / "images", tmp_path / split / "labels", [name])
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\n"
    (tmp_path / "data.yaml").write_text(text + "names: ['cat', 'dog']\n")
    parts = recognise(tmp_path / "data.yaml").parts
    assert set(parts) == {"train", "val"}
    assert found(read(parts["val"])) == {"b.png": SCENE["b.png"]}


def test_lists_of_photos_and_of_folders(tmp_path):
    write_split(tmp_path / "images", tmp_path / "labels", ["a.png", "b.png"])
    (tmp_path / "train.txt").write_text("./images/a.png\n")
    (tmp_path / "data.yaml").write_text(
        "train: train.txt\nval: [images, images]\nnames: [cat, dog]\n"
    )
    parts = recognise(tmp_path).parts
    assert found(read(parts["train"])) == {"images/a.png": SCENE["a.png"]}
    assert len(read(parts["val"])) == 4


def test_classes_txt_and_a_photo_without_labels(tmp_path):
    write_split(tmp_path / "images", tmp_path / "labels", ["a.png"])
    write_photos(tmp_path / "images", ["b.png"])
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    parts = recognise(tmp_path).parts
    assert found(read(parts["all"])) == {"a.png": SCENE["a.png"], "b.png": []}


def test_boxes(tmp_path):
    write_split(tmp_path, tmp_path, ["a.png", "b.png"], as_box=True)
    (tmp_path / "data.yaml").write_text("train: .\nnames: [cat, dog]\n")
    dataset = read(recognise(tmp_path).parts["train"])
    assert not dataset.has_masks
    assert found(dataset) == {
        name: [(label, corners, None)] for name, (label, corners) in scenes.CORNERS.items()
    }


@pytest.mark.parametrize("wrong", ["2 0 0 1 0 1 1", "0.5 0 0 1 0 1 1", "0 0 0 1", "0 a b c d e f"])
def test_a_wrong_line_is_named(tmp_path, wrong):
    write_split(tmp_path / "images", tmp_path / "labels", ["a.png"])
    (tmp_path / "labels" / "a.txt").write_text(f"{line('a.png')}\n{wrong}\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    with pytest.raises(DatasetError, match=r"a\.txt, line 2"):
        read(recognise(tmp_path).parts["train"])


def test_a_yaml_file_without_photos_is_refused(tmp_path):
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    with pytest.raises(DatasetError, match="train and val"):
        recognise(tmp_path)
