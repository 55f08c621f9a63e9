from maskrcnn_benchmark.data.formats import recognise
from tests.data.formats import scenes
from tests.data.formats.scenes import found, points, read, write_json, write_photos


def write(root, split, city, name, objects):
    stem = f"{city}_000000_000019"
    images = root / "leftImg8bit" / split / city
    write_photos(images, [name])
    (images / name).rename(images / f"{stem}_leftImg8bit.png")
    width, height = scenes.SIZES[name]
    content = {"imgWidth": width, "imgHeight": height, "objects": objects}
    write_json(root / "gtFine" / split / city / f"{stem}_gtFine_polygons.json", content)
    return f"{city}/{stem}_leftImg8bit.png"


def thing(label, corners):
    """An object; the outline of a polygon is drawn, too, so that edges are pixels here."""
    x1, y1, x2, y2 = corners
    return {"label": label, "polygon": points((x1, y1, x2 - 1, y2 - 1))}


def test_splits_classes_and_what_lies_in_front(tmp_path):
    road, group = thing("road", (0, 0, 12, 10)), thing("cargroup", (7, 6, 11, 9))
    behind, front = thing("car", (2, 1, 6, 5)), thing("person", (4, 1, 8, 5))
    first = write(tmp_path, "train", "ulm", "a.png", [road, behind, front, group])
    second = write(tmp_path, "val", "bonn", "b.png", [thing("bicycle", (4, 3, 9, 7))])
    data = recognise(tmp_path)
    assert data.format.name == "cityscapes"
    dataset = read(data.parts["train"])
    # The person hides the right half of the car; roads are no things; groups are crowds.
    assert found(dataset) == {first: [("car", (2, 1, 4, 5), 8), ("person", (4, 1, 8, 5), 16)]}
    crowds = [one for one in dataset.ground_truth()["annotations"] if one["iscrowd"]]
    assert [(one["category_id"], one["area"]) for one in crowds] == [(26, 12)]
    assert dataset.contiguous_category_id_to_json_id[8] == 33
    assert found(read(data.parts["val"])) == {second: [("bicycle", (4, 3, 9, 7), 20)]}
