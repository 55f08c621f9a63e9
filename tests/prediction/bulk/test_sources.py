"""Which photos there are, under which keys."""

import contextlib
import gzip
import json
import os
import tarfile

import pytest

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from maskrcnn_benchmark.prediction.bulk.local import PhotoReader
from maskrcnn_benchmark.prediction.bulk.sources import find_bulk_photos, share_of
from tests.prediction.bulk.tiny import write_photos


@pytest.fixture
def folder(tmp_path):
    write_photos(tmp_path / "photos", 6)
    return tmp_path / "photos"


def keys(*sources):
    return [photo.key for photo in find_bulk_photos([str(source) for source in sources])]


def write_tar(path, folder, names, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name in names:
            archive.add(folder / name, arcname=name)
    return path


def red_of(photo):
    with PhotoReader() as read:
        return read(photo).getpixel((0, 0))[0]


def test_folders_files_and_patterns_give_each_photo_once(folder):
    (folder / "below").mkdir()
    (folder / "00005.png").rename(folder / "below" / "00005.png")
    (folder / "notes.txt").write_text("no photo")
    (folder / "._00001.png").write_text("what another system leaves")
    expected = sorted(str(path) for path in folder.rglob("0*.png"))
    assert keys(folder) == expected
    assert keys(folder / "00001.png", folder / "*.png", folder) == [
        expected[1],
        *expected[:1],
        *expected[2:],
    ]


def test_members_of_shards_are_read_where_they_lie(folder):
    names = sorted(os.listdir(folder))
    (folder / "00000.json").write_text("{}")
    write_tar(folder.parent / "s-00.tar", folder, [*names[:3], "00000.json"])
    write_tar(folder.parent / "s-01.tar", folder, names[3:])
    photos = find_bulk_photos([str(folder.parent / "s-{00..01}.tar")])
    assert [photo.key.rpartition("/")[2] for photo in photos] == names
    assert photos[0].key == f"{folder.parent}/s-00.tar/00000.png"
    with PhotoReader() as read:
        # Also backwards, and from one shard to the other.
        assert [read(photo).getpixel((0, 0))[0] for photo in reversed(photos)] == [5, 4, 3, 2, 1, 0]
    pattern = str(folder.parent / "*.tar")
    assert keys(pattern) == [photo.key for photo in photos]


def test_compressed_shards_and_folders_of_shards(folder):
    names = sorted(os.listdir(folder))
    shards = folder.parent / "shards"
    shards.mkdir()
    write_tar(shards / "a.tar.gz", folder, names, "w:gz")
    photos = find_bulk_photos([str(shards)])
    assert [red_of(photo) for photo in photos] == list(range(6))


def test_the_later_of_two_members_of_a_name_counts(folder):
    path = write_tar(folder.parent / "s.tar", folder, ["00001.png"])
    with tarfile.open(path, "a") as archive:
        archive.add(folder / "00004.png", arcname="00001.png")
    (photo,) = find_bulk_photos([str(path)])
    assert red_of(photo) == 4


def test_links_in_a_shard_are_no_photos(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        link = tarfile.TarInfo("passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert keys(tmp_path / "s.tar") == []


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_shard_that_is_cut_off_keeps_what_is_whole(folder, is_compressed):
    path = write_tar(folder.parent / "s.tar", folder, sorted(os.listdir(folder)))
    content = path.read_bytes()
    # In the middle of the fourth member's header.
    start = content.index(b"00003.png")
    cut = content[: start + 700]
    if is_compressed:
        path = path.with_suffix(".tar.gz")
        whole = gzip.compress(content)
        cut = whole[: len(whole) - 40]
    path.write_bytes(cut)
    photos = find_bulk_photos([str(path)])
    good = [photo for photo in photos if not photo.fault]
    assert len(good) >= 3 or is_compressed
    assert photos[-1].key == str(path)
    with pytest.raises(ImageReadError, match="damaged"):
        red_of(photos[-1])


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_shard_with_wrong_bytes_is_a_fault_and_no_crash(folder, kind):
    path = write_tar(
        folder.parent / f"s.tar.{kind}", folder, sorted(os.listdir(folder)), f"w:{kind}"
    )
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(content)
    photos = find_bulk_photos([str(path)])
    assert photos
    for photo in photos:
        with contextlib.suppress(ImageReadError):
            red_of(photo)


def test_a_shard_that_shrank_after_it_was_listed(folder):
    path = write_tar(folder.parent / "s.tar", folder, ["00001.png"])
    (photo,) = find_bulk_photos([str(path)])
    path.write_bytes(path.read_bytes()[:520])
    with pytest.raises(ImageReadError, match=r"s\.tar"):
        red_of(photo)


def test_coco_files_need_no_annotations(folder):
    images = [{"id": 10 + n, "file_name": f"0000{n}.png"} for n in (1, 3)]
    file = folder / "images.json"
    file.write_text(json.dumps({"images": images}))
    for source in (file, f"{file}@{folder}"):
        photos = find_bulk_photos([str(source)])
        assert [(photo.image_id, red_of(photo)) for photo in photos] == [(11, 1), (13, 3)]


@pytest.mark.parametrize(
    "content",
    ["no JSON", "{}", '{"images": [{"file_name": "a.png"}]}', '{"images": [{"id": 1}]}', "[]"],
)
def test_json_that_is_no_list_of_images(folder, content):
    (folder / "a.json").write_text(content)
    with pytest.raises(DatasetError, match=r"a\.json"):
        find_bulk_photos([f"{folder / 'a.json'}@{folder}"])


@pytest.mark.parametrize("source", ["absent", "absent/*.jpg", "s-{0..2}.tar", "empty"])
def test_sources_without_photos_are_named(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="SOURCES"):
        find_bulk_photos([str(tmp_path / source)])


def test_shares_are_disjoint_whole_and_stay_when_photos_come(folder):
    photos = find_bulk_photos([str(folder)])
    shares = [share_of(photos, rank, 3) for rank in range(3)]
    assert sorted(photo for share in shares for photo in share) == sorted(photos)
    for rank, share in enumerate(shares):
        assert share_of(photos[2:], rank, 3) == [photo for photo in share if photo in photos[2:]]


def test_names_that_are_no_text_have_keys_that_are(folder):
    name = os.fsencode(folder) + b"/\xff.png"
    try:
        os.rename(os.fsencode(folder / "00002.png"), name)
    except OSError:
        pytest.skip("this file system has no such names")
    (photo,) = [one for one in find_bulk_photos([str(folder)]) if "\\" in one.key]
    assert json.loads(json.dumps(photo.key)) == photo.key
    assert red_of(photo) == 2
