import json

import cv2
import numpy as np
import pytest
from PIL import Image

from centermask_runtime.results import ResultFile
from maskrcnn_benchmark.prediction import video as video_module
from maskrcnn_benchmark.prediction.sources import Video
from maskrcnn_benchmark.prediction.video import VideoReader, VideoRun, VideoWriter, draw_on_video
from tests.prediction.small_model import CLIP_SIZE_WH as SIZE_WH
from tests.prediction.small_model import find, outputs_in, write_clip


def frames(path):
    return [np.asarray(picture.image) for picture, _ in VideoReader(path).frames()]


def test_every_frame_is_drawn_on(tmp_path, caplog):
    caplog.set_level("INFO")
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    results = ResultFile(tmp_path / "results.json")
    outputs = outputs_in(out, masks=True, results=results)
    assert draw_on_video(Video(clip, out / "clip.mp4"), find, outputs)
    results.close()
    before, after = frames(clip), frames(out / "clip.mp4")
    assert len(after) == len(before) == 12
    assert after[0].shape == before[0].shape
    difference = np.abs(after[3].astype(int) - before[3])
    assert difference[10:40, 8:24].mean() > 20
    assert difference[:, 40:].mean() < 10
    assert VideoReader(out / "clip.mp4").fps == 10
    assert len(list((out / "masks" / "clip").glob("*.png"))) == 12
    written = json.loads(results.path.read_text())
    assert [one["frame"] for one in written] == [n for n in range(12) for _ in "ab"]
    assert "12 frames" in caplog.text
    assert [path.name for path in out.iterdir() if path.is_file()] == ["clip.mp4"]


def test_ctrl_c_leaves_a_playable_file(tmp_path):
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    seen = []

    def interrupted(image):
        seen.append(image)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return find(image)

    with pytest.raises(KeyboardInterrupt):
        VideoRun(Video(clip, out / "clip.mp4"), interrupted, outputs_in(out)).run()
    assert len(frames(out / "clip.mp4")) == 5


def test_after_an_error_nothing_half_is_left_and_the_former_file_stays(tmp_path):
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    out.mkdir()
    (out / "clip.mp4").write_bytes(b"of an earlier run")

    def failing(image):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        VideoRun(Video(clip, out / "clip.mp4"), failing, outputs_in(out)).run()
    assert [path.read_bytes() for path in out.iterdir()] == [b"of an earlier run"]


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_told_and_left_out(tmp_path, content, caplog):
    (tmp_path / "bad.mp4").write_bytes(content)
    video = Video(tmp_path / "bad.mp4", tmp_path / "out" / "bad.mp4")
    assert not draw_on_video(video, find, outputs_in(tmp_path / "out"))
    assert "bad.mp4" in caplog.text
    assert not (tmp_path / "out" / "bad.mp4").exists()


def test_a_video_cut_short_is_drawn_on_as_far_as_it_goes(tmp_path, caplog):
    whole = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE_WH)
    noise = np.random.default_rng(0).integers(0, 256, (20, SIZE_WH[1], SIZE_WH[0], 3), np.uint8)
    for one in noise:
        whole.write(one)
    whole.release()
    content = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) * 6 // 10])
    video = Video(tmp_path / "cut.avi", tmp_path / "out" / "cut.mp4")
    assert draw_on_video(video, find, outputs_in(tmp_path / "out"))
    assert 5 <= len(frames(tmp_path / "out" / "cut.mp4")) < 20


def test_where_h264_cannot_be_written_the_next_best_is(tmp_path, monkeypatch):
    codecs = [
        video_module._Codec("none", ".mp4", "unknown"),
        video_module._Codec("MJPG", ".avi", "known"),
    ]
    monkeypatch.setattr(video_module, "_CODECS", codecs)
    writer = VideoWriter(tmp_path / "a.mp4", 10)
    writer.write(Image.new("RGB", SIZE_WH))
    writer.close(keep=True)
    assert (writer.target, writer.format) == (tmp_path / "a.avi", "known")
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]
    assert len(frames(tmp_path / "a.avi")) == 1


def test_frames_of_a_camera_keep_the_pace(tmp_path):
    """Computed at 0.0, 0.5 and 1.2 s of 10 frames a second: 13 frames, as long as the time was."""
    writer = VideoWriter(tmp_path / "a.mp4", 10)
    for seconds in (0.0, 0.5, 1.2):
        writer.write(Image.new("RGB", SIZE_WH), seconds)
    writer.close(keep=True)
    assert len(frames(writer.target)) == 13


def test_a_frame_of_another_size_is_resized(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", 10)
    for size in (SIZE_WH, (32, 32)):
        writer.write(Image.new("RGB", size))
    writer.close(keep=True)
    assert [one.shape for one in frames(writer.target)] == [(48, 64, 3)] * 2
