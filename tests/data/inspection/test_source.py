"""Annotated photos as a whole: what is told of their parts, and the copy without faults."""

import json

import numpy as np
import pytest
from PIL import Image

from maskrcnn_benchmark.cli import main
from maskrcnn_benchmark.data.datasets.readers import read_content
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.inspection.clean import clean_part, write_clean_copy
from maskrcnn_benchmark.data.inspection.source import inspect_source
from maskrcnn_benchmark.data.sources import catalog_entry
from maskrcnn_benchmark.visualization.findings_sheet import draw_findings
from tests.cli.small_data import write_yolo
from tests.data.tiny_coco import annotation

SIZE_WH = (64, 48)


def box(number, image_id, category_id=1, left=8, **more):
    outline = [[left, 8, left + 24, 8, left + 24, 32, left, 32]]
    sound = annotation(number, image_id, category_id, (left, 8, 24, 24))
    return {**sound, "segmentation": outline, "area": 576, **more}


def write_part(folder, seeds, entries=None, names=("cat",)):
    """Photos of noise, each of a seed, and a file of annotations, one an image unless given."""
    folder.mkdir(parents=True)
    images = []
    for number, seed in enumerate(seeds):
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(SIZE_WH).save(folder / f"{number}.jpg")
        image = {"id": number, "file_name": f"{number}.jpg"}
        images.append({**image, "width": SIZE_WH[0], "height": SIZE_WH[1]})
    entries = [box(i + 1, i) for i in range(len(seeds))] if entries is None else entries
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    data = {"images": images, "annotations": entries, "categories": categories}
    (folder / "_annotations.coco.json").write_text(json.dumps(data))
    return folder


def write_labelme(stem, label, seed):
    pixels = np.random.default_rng([seed, len(stem.name)]).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).resize(SIZE_WH).save(f"{stem}.jpg")
    shape = {
        "label": label,
        "shape_type": "polygon",
        "points": [[8, 8], [32, 8], [32, 32], [8, 32]],
    }
    size = {"imageWidth": SIZE_WH[0], "imageHeight": SIZE_WH[1]}
    content = {"imagePath": f"{stem.name}.jpg", "shapes": [shape], **size}
    stem.with_suffix(".json").write_text(json.dumps(content))


def words(part):
    return [finding.what for finding in part.report.findings]


def test_sound_parts(tmp_path):
    write_part(tmp_path / "train", range(4))
    write_part(tmp_path / "valid", range(10, 12))
    assert main(["check-data", str(tmp_path)]) == 0


def test_a_photo_in_two_parts(tmp_path, capsys):
    write_part(tmp_path / "train", range(4))
    write_part(tmp_path / "valid", [10, 2])
    assert main(["check-data", str(tmp_path)]) == 1
    assert "1.jpg is 2.jpg of train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "entries", "told"),
    [
        (("Cat",), None, "classes that the training part does not have"),
        (("cat",), [], "parts without annotations, which cannot be evaluated on"),
    ],
)
def test_a_validation_part_that_would_not_be_scored(tmp_path, names, entries, told):
    write_part(tmp_path / "train", range(4))
    write_part(tmp_path / "valid", [10, 11], entries, names)
    assert told in words(inspect_source(str(tmp_path))["val"])


def apart(folder):
    return f"{folder / '_annotations.coco.json'}@{folder}"


def test_files_that_lie_apart_are_compared(tmp_path, capsys):
    train = write_part(tmp_path / "a", range(4), names=("cat", "dog"))
    val = write_part(tmp_path / "b", [10, 2], names=("dog", "cat"))
    assert main(["check-data", apart(train), "--val", apart(val)]) == 1
    told = capsys.readouterr().out
    assert "1.jpg is 2.jpg of train" in told
    assert "1 is 'dog', there 'cat'" in told
    assert main(["check-data", apart(train), "--val", apart(train)]) == 0


def test_the_same_numbers_in_both_parts_are_nothing_to_tell(tmp_path):
    train = write_part(tmp_path / "a", range(4), names=("cat", "dog"))
    val = write_part(tmp_path / "b", [10, 11], names=("cat", "dog"))
    parts = inspect_source(str(train), val=str(val))
    assert list(parts) == ["train", "val"]
    assert not any("numbers" in what for what in words(parts["val"]))


def test_formats_without_numbers_have_none_to_compare(tmp_path):
    """LabelMe's files have names; each part numbers its own."""
    for part, labels in (("train", ("cat", "dog")), ("val", ("dog",))):
        folder = tmp_path / part
        folder.mkdir()
        for seed, label in enumerate(labels):
            write_labelme(folder / f"{part}{seed}", label, seed)
    assert not any("numbers" in what for what in words(inspect_source(str(tmp_path))["val"]))


@pytest.mark.parametrize(
    ("seeds", "entries", "told"),
    [
        ([1], None, "data sets of one photo, none of which can be kept for validation"),
        ([1, 2], [], "data sets without anything to train on"),
    ],
)
def test_what_no_training_can_begin_with(tmp_path, seeds, entries, told):
    write_part(tmp_path / "all", seeds, entries)
    (part,) = inspect_source(str(tmp_path)).values()
    assert told in words(part)
    assert not part.report.is_fine


def faulty(tmp_path):
    entries = [
        *(box(1, 0, left=-8), box(1, 1), box(3, 2, 9), box(4, 9), box(5, 2)),
        *(box(6, 3, segmentation=[[1, 2]]), box(7, 3), box(8, 3, bbox=[300, 8, 4, 4])),
        *(box(9, 4), box(10, 5), box(11, 6), box(12, 7)),
    ]
    folder = write_part(tmp_path / "photos" / "train", [*range(7), 6], entries)
    (folder / "4.jpg").unlink()
    cut = folder / "5.jpg"
    cut.write_bytes(cut.read_bytes()[:-2])
    write_part(tmp_path / "photos" / "valid", [20, 3])
    return tmp_path / "photos"


def test_the_clean_copy_is_clean_and_the_original_as_it_was(tmp_path, capsys):
    source, copy = faulty(tmp_path), tmp_path / "clean"
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    assert main(["check-data", str(source), "--fix", str(copy)]) == 1
    assert before == {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    changes = (copy / "changes.txt").read_text()
    for what in ("4.jpg", "7.jpg", "annotation 8", "gave 5.jpg the end", "cut the box"):
        assert what in changes
    assert main(["check-data", str(copy)]) == 0
    parts = inspect_source(str(copy))
    assert {split: len(part.dataset) for split, part in parts.items()} == {"train": 6, "val": 1}
    assert (copy / "train" / "5.jpg").read_bytes().endswith(b"\xff\xd9")
    with pytest.raises(DatasetError, match="empty folder"):
        write_clean_copy({}, copy)


def test_crowds_that_are_all_there_is_become_single_objects(tmp_path):
    write_part(tmp_path / "all", range(3), [box(i + 1, i, iscrowd=1) for i in range(3)])
    (part,) = inspect_source(str(tmp_path)).values()
    assert not part.report.is_fine
    clean = clean_part(part.dataset, part.root, part.report.findings)
    assert {entry["iscrowd"] for entry in clean.content["annotations"]} == {0}


def test_the_sheet_shows_some_of_every_fault(tmp_path):
    parts = inspect_source(str(faulty(tmp_path))).values()
    pictures = [(part.dataset, part.report.findings) for part in parts]
    path = tmp_path / "sheet.png"
    assert draw_findings(pictures, path) >= 5
    with Image.open(path) as sheet:
        assert len(sheet.convert("RGB").getcolors(sheet.width * sheet.height)) > 100
    assert draw_findings([], path) == 0


def test_photos_whose_turn_nobody_knows_are_noted(tmp_path):
    folder = write_part(tmp_path / "train", range(3))
    for name, orientation in (("0.jpg", 3), ("1.jpg", 6)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(folder / name).save(folder / name, exif=exif)
    findings = inspect_source(str(tmp_path))["train"].report.findings
    (turned,) = [finding for finding in findings if "EXIF" in finding.what]
    assert [place.text for place in turned.places] == ["0.jpg"]


@pytest.mark.parametrize("size", ["exchanged", "missing", "text"])
def test_sizes_that_are_wrong_are_mended(tmp_path, size):
    folder = write_part(tmp_path / "all", range(3))
    file = folder / "_annotations.coco.json"
    data = json.loads(file.read_text())
    for entry in data["images"]:
        if size == "exchanged":
            entry |= {"width": entry["height"], "height": entry["width"]}
        elif size == "missing":
            entry.pop("width")
        else:
            entry["width"] = str(entry["width"])
    file.write_text(json.dumps(data))
    assert main(["check-data", str(folder), "--fix", str(tmp_path / "clean")]) == 1
    (part,) = inspect_source(str(tmp_path / "clean")).values()
    assert part.report.is_fine
    assert part.dataset.get_img_info(0)["width"] == SIZE_WH[0]


def test_fractions_become_px(tmp_path):
    fraction = [[0.25, 0.25, 0.5, 0.25, 0.5, 0.5]]
    entries = [box(i, i, bbox=[0.25, 0.25, 0.25, 0.25], segmentation=fraction) for i in range(3)]
    folder = write_part(tmp_path / "all", range(3), entries)
    assert main(["check-data", str(folder), "--fix", str(tmp_path / "clean")]) == 1
    (part,) = inspect_source(str(tmp_path / "clean")).values()
    assert part.report.is_fine
    assert part.dataset.get_target(0).bbox.tolist() == [[16.0, 12.0, 31.0, 23.0]]
    outline = part.dataset.ground_truth()["annotations"][0]["segmentation"]
    assert outline == [[16.0, 12.0, 32.0, 12.0, 32.0, 24.0]]


@pytest.mark.parametrize("section", ["images", "annotations"])
def test_files_of_another_structure_are_refused_in_words(tmp_path, section):
    folder = write_part(tmp_path / "all", range(3))
    file = folder / "_annotations.coco.json"
    data = json.loads(file.read_text())
    data[section][1] = None
    file.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=rf"{section}\[1\] must be an object, not None"):
        inspect_source(str(folder))
    with pytest.raises(DatasetError, match=rf"{section}\[\d\] must be an object, not None"):
        load_part(str(folder))


def load_part(name):
    entry = catalog_entry(name, [name], is_train=True)["args"]
    return read_content(entry["ann_file"], entry["root"], entry["reader"])


def test_photos_that_nobody_annotated(tmp_path):
    folder = write_part(tmp_path / "train", range(3))
    write_part(tmp_path / "valid", [10, 11])
    Image.new("RGB", SIZE_WH, "red").save(folder / "more.jpg")
    found = inspect_source(str(tmp_path))
    told = "photos that no annotation file names"
    assert told in words(found["train"])
    assert told not in words(found["val"])


def test_yolo_photos_that_cannot_be_read_are_told_with_all_others(tmp_path, capsys):
    data = write_yolo(tmp_path / "photos")
    broken = sorted((data / "images" / "train").iterdir())[:2]
    for path in broken:
        path.write_text("no photo")
    assert main(["check-data", str(data)]) == 1
    told = capsys.readouterr().out
    assert all(path.name in told for path in broken)
