import pytest

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats import recognise
from tests.data.formats import scenes
from tests.data.formats.scenes import SCENE, found, polygon, read, write_json, write_photos


def region(name, attributes, *, as_rect=False):
    x1, y1, x2, y2 = scenes.CORNERS[name][1]
    flat = polygon(scenes.CORNERS[name][1])
    shape = {"name": "polygon", "all_points_x": flat[::2], "all_points_y": flat[1::2]}
    if as_rect:
        shape = {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(name, *regions):
    return {"filename": name, "size": 1, "regions": list(regions), "file_attributes": {}}


def labelled(name, **options):
    return entry(name, region(name, {"class": scenes.CORNERS[name][0]}, **options))


def test_an_export_beside_the_photos(tmp_path):
    write_photos(tmp_path)
    write_json(tmp_path / "via.json", {name: labelled(name) for name in scenes.SIZES})
    data = recognise(tmp_path)
    assert data.format.name == "via"
    assert found(read(data.parts["all"])) == SCENE


def test_a_project_with_rectangles_and_check_boxes(tmp_path):
    write_photos(tmp_path / "images")
    entries = {}
    for name, (label, _) in scenes.CORNERS.items():
        attributes = {"kind": {label: True}}
        point = {"shape_attributes": {"name": "point", "cx": 1, "cy": 1}, "region_attributes": {}}
        entries[name] = entry(name, region(name, attributes, as_rect=True), point)
    write_json(tmp_path / "project.json", {"_via_settings": {}, "_via_img_metadata": entries})
    assert found(read(recognise(tmp_path).parts["all"])) == SCENE


def test_version_1_numbers_regions_and_may_have_no_class(tmp_path):
    for split, name in (("train", "a.png"), ("val", "b.png")):
        write_photos(tmp_path / split, [name])
        one = {**entry(name), "regions": {"0": region(name, {})}}
        write_json(tmp_path / split / "via_region_data.json", {f"{name}123": one})
    parts = recognise(tmp_path).parts
    assert found(read(parts["train"])) == {"a.png": scenes.ONE_CLASS["a.png"]}
    assert found(read(parts["val"])) == {"b.png": scenes.ONE_CLASS["b.png"]}


def test_a_circle_and_an_ellipse_on_its_side(tmp_path):
    write_photos(tmp_path, ["a.png"])
    circle = {"name": "circle", "cx": 4, "cy": 5, "r": 3}
    ellipse = {"name": "ellipse", "cx": 8, "cy": 5, "rx": 3, "ry": 1.5, "theta": 1.5707963267948966}
    regions = [{"shape_attributes": s, "region_attributes": {}} for s in (circle, ellipse)]
    write_json(tmp_path / "via.json", {"a": entry("a.png", *regions)})
    seen = found(read(recognise(tmp_path).parts["all"]))["a.png"]
    assert [box for _, box, _ in seen] == [(1, 2, 7, 8), (6, 2, 9, 8)]


def test_missing_photos_are_left_out_and_logged(tmp_path, caplog):
    write_photos(tmp_path, ["a.png"])
    write_json(tmp_path / "via.json", {name: labelled(name) for name in scenes.SIZES})
    assert found(read(recognise(tmp_path).parts["all"])) == {"a.png": SCENE["a.png"]}
    assert "b.png" in caplog.text


def test_two_attributes_need_one_called_class(tmp_path):
    write_photos(tmp_path, ["a.png"])
    one = entry("a.png", region("a.png", {"colour": "red", "mood": "good"}))
    write_json(tmp_path / "via.json", {"a": one})
    with pytest.raises(DatasetError, match="colour, mood"):
        read(recognise(tmp_path).parts["all"])
