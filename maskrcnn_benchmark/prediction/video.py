"""Videos and cameras: frames are read, go through the model, and are drawn on and written.

OpenCV reads and writes; which formats it can write depends on how it was built.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
from PIL import Image

from centermask_runtime.errors import DatasetError
from centermask_runtime.outputs import Detect, Found, Outputs, Picture
from centermask_runtime.pipeline import Progress, StageTimes, run_side_by_side
from maskrcnn_benchmark.prediction.sources import Video

logger = logging.getLogger(__name__)

_DEFAULT_FPS: Final = 25.0
_MAX_FPS: Final = 1000.0
_SECONDS_BETWEEN_LINES: Final = 5.0

_Frame: TypeAlias = tuple[Picture, float | None]


class VideoError(DatasetError):
    """The error of a video or camera that cannot be read, or a file that cannot be written."""


class _Codec(NamedTuple):
    """FourCC and file suffix of a way to write videos, and what to say of it."""

    fourcc: str
    suffix: str
    name: str


# Best first: what every browser and player shows, what most players show, what any OpenCV writes.
# VP9 would be shown by browsers, but takes longer than the model.
_CODECS: Final = (
    _Codec("avc1", ".mp4", "H.264"),
    _Codec("mp4v", ".mp4", "MPEG-4, for players; this OpenCV cannot write H.264, for browsers"),
    _Codec("MJPG", ".avi", "Motion JPEG; this OpenCV cannot write H.264 or MPEG-4"),
)


class VideoReader:
    """The frames of an open video or camera.

    Args:
        source: a file, or the number of a camera.

    Attributes:
        fps: frames a second.
        num_frames: as the file says; None of a camera, or if it does not say.
        is_live: of a camera.

    Raises:
        VideoError: it cannot be opened.
    """

    def __init__(self, source: Path | int) -> None:
        self.source = source
        self.is_live = isinstance(source, int)
        with _quiet_opencv():
            self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            kind = "camera" if self.is_live else "video"
            raise VideoError(
                f"cannot open the {kind} {source}: absent, damaged or of a kind unknown"
            )
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if math.isfinite(fps) and 0 < fps <= _MAX_FPS else _DEFAULT_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.num_frames = int(count) if math.isfinite(count) and count > 0 else None

    def frames(self) -> Iterator[_Frame]:
        """Each frame, and of a camera the seconds since the first; the video is closed then."""
        name = f"camera{self.source}" if isinstance(self.source, int) else self.source.stem
        number, start = 0, None
        try:
            while True:
                was_read, pixels = self._capture.read()
                if not was_read:
                    return
                now = perf_counter()
                start = now if start is None else start
                image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
                picture = Picture(str(self.source), Path(name, f"{number:06d}"), image, number)
                yield picture, now - start if self.is_live else None
                number += 1
        finally:
            self._capture.release()


class VideoWriter:
    """Writes frames into a file that appears when it is closed.

    Args:
        target: the file; its suffix becomes that of the format written.
        fps: frames a second.

    Attributes:
        target: the file.
        format: what was written; empty before the first frame.
        num_frames: frames written.
    """

    def __init__(self, target: Path, fps: float) -> None:
        self.target = target
        self.format = ""
        self.num_frames = 0
        self._fps = fps
        self._size_wh = (0, 0)
        self._writer: Any = None
        self._temporary = target

    def write(self, image: Image.Image, seconds: float | None = None) -> None:
        """Add a frame; of another size than the first, it is resized.

        Args:
            image: RGB.
            seconds: when it was taken; repeated, or left out, to keep the pace. None: once.

        Raises:
            VideoError: nothing can be written there.
        """
        if self._writer is None:
            self._open(image.size)
        if image.size != self._size_wh:
            image = image.resize(self._size_wh)
        pixels = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
        due = self.num_frames + 1 if seconds is None else round(seconds * self._fps) + 1
        while self.num_frames < due:
            self._writer.write(pixels)
            self.num_frames += 1

    def close(self, *, keep: bool) -> None:
        """Finish the file, and keep it or not."""
        if self._writer is None:
            return
        self._writer.release()
        if keep:
            os.replace(self._temporary, self.target)
        else:
            self._temporary.unlink(missing_ok=True)

    def _open(self, size_wh: tuple[int, int]) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        for codec in _CODECS:
            name = f".{self.target.stem}.{os.getpid()}.unfinished{codec.suffix}"
            self._temporary = self.target.with_name(name)
            fourcc = cv2.VideoWriter.fourcc(*codec.fourcc)
            with _quiet_opencv():
                writer = cv2.VideoWriter(str(self._temporary), fourcc, self._fps, size_wh)
            if writer.isOpened():
                self._writer, self._size_wh, self.format = writer, size_wh, codec.name
                self.target = self.target.with_suffix(codec.suffix)
                return
            self._temporary.unlink(missing_ok=True)
        raise VideoError(f"cannot write {self.target}: this OpenCV writes no video, or not there")


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """A block in which OpenCV and its FFmpeg do not print what they try."""
    # Read by OpenCV when its FFmpeg is first used; -8 is FFmpeg's "quiet".
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


class VideoRun:
    """A run over a video or camera, which draws on every frame.

    Args:
        video: where it is, and where the drawn one goes.
        detect: the model.
        outputs: what is kept.

    Raises:
        VideoError: it cannot be opened.
    """

    def __init__(self, video: Video, detect: Detect, outputs: Outputs) -> None:
        self._reader = VideoReader(video.source)
        self._writer = VideoWriter(video.target, self._reader.fps)
        self._detect = detect
        self._outputs = outputs
        self._progress = Progress(self._reader.num_frames)
        self._num_done = 0
        self._last_line = perf_counter()

    def run(self) -> StageTimes:
        """How long it took, until the video's end; a camera has none besides Ctrl-C.

        When interrupted, what has been drawn is a whole video; after an error nothing is left.

        Raises:
            VideoError: not one frame can be read, or nothing be written.
        """
        keep = False
        try:
            times = run_side_by_side(
                self._reader.frames(), self._compute, self._write, is_live=self._reader.is_live
            )
            keep = True
        except (KeyboardInterrupt, SystemExit):
            keep = True
            raise
        finally:
            self._writer.close(keep=keep)
            if keep and self._writer.num_frames:
                logger.info("Wrote %s (%s)", self._writer.target, self._writer.format)
        if not times.count:
            raise VideoError(f"cannot read a frame of {self._reader.source}")
        promised = self._reader.num_frames
        if promised is not None and times.count < promised:
            logger.warning(
                "%s ends after %d of the %d frames that it should have",
                *(self._reader.source, times.count, promised),
            )
        return times

    def _compute(self, frame: _Frame) -> tuple[_Frame, Found]:
        return frame, self._detect(frame[0].image)

    def _write(self, looked_at: tuple[_Frame, Found]) -> None:
        (picture, seconds), found = looked_at
        shown = self._outputs.keep(picture, found)
        self._writer.write(self._outputs.draw(picture, shown), seconds)
        self._num_done += 1
        if perf_counter() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = perf_counter()
            done = self._progress.tell(self._num_done)
            logger.info("%s: frame %s", self._reader.source, done)


def draw_on_video(video: Video, detect: Detect, outputs: Outputs) -> bool:
    """Whether the video could be read; it has been drawn on then, and the time taken logged."""
    try:
        times = VideoRun(video, detect, outputs).run()
    except VideoError as error:
        logger.error("%s", error)
        return False
    logger.info("%s: %s", video.source, times.summary("frame"))
    return True
