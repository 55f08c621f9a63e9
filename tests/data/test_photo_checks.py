"""All photos of a run are looked at before it begins."""

import pytest

from maskrcnn_benchmark.data import photo_checks
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.photo_checks import check_photos
from tests.data.tiny_coco import annotation, content, image, write


def dataset(tmp_path, count=3):
    images = [image(i, file_name=f"{i}.jpg") for i in range(1, count + 1)]
    ann_file, root = write(tmp_path, content(images, [annotation()]))
    return COCODataset(ann_file, root, False)


def test_sound_photos_pass(tmp_path):
    check_photos([dataset(tmp_path)])
    check_photos([])


@pytest.mark.parametrize("few", [100, 0])
def test_all_faults_are_told_at_once(tmp_path, monkeypatch, few):
    """Few photos are read, of many the ends are looked at."""
    monkeypatch.setattr(photo_checks, "_FEW_PHOTOS", few)
    given = dataset(tmp_path)
    (tmp_path / "images" / "1.jpg").unlink()
    path = tmp_path / "images" / "3.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DatasetError, match=r"2 of 3 photos cannot be used:\n.*1\.jpg.*\n.*3\.jpg"):
        check_photos([given])


def test_many_faults_are_counted(tmp_path):
    given = dataset(tmp_path, 15)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"15 of 15 photos(.*\n)*  and 5 more") as error:
        check_photos([given])
    assert str(error.value).count("no such image file") == 10
