"""How a forward pass moves through the code: ``python -m benchmarks.calls``.

Counts the calls of the package's own functions in one training and one evaluation forward of a
small model, and how often two calls in a row lie in different folders: as often, a reader who
follows an image has to open another folder.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch

import maskrcnn_benchmark
from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(maskrcnn_benchmark.__file__).resolve().parent
QUICKSTART = ROOT / "configs/quickstart/centermask_lite_M_v2_FPN_quickstart.yaml"
IMAGE_HW = (64, 96)


class Call(NamedTuple):
    """One call of a function: its file, relative to the package, and its name."""

    file: str
    function: str

    @property
    def folder(self) -> str:
        """Folder of the file."""
        return str(Path(self.file).parent)


class Walk(NamedTuple):
    """The calls of one pass, in their order."""

    calls: tuple[Call, ...]

    def changes(self) -> Counter[tuple[Call, Call]]:
        """Pairs of calls in a row that lie in different folders, and how often they come."""
        return Counter((a, b) for a, b in pairwise(self.calls) if a.folder != b.folder)

    def summary(self) -> str:
        """The numbers as a sentence."""
        functions, files = set(self.calls), {call.file for call in self.calls}
        return (
            f"{len(self.calls)} calls of {len(functions)} functions in {len(files)} files, "
            f"{self.changes().total()} changes of folder"
        )


@contextmanager
def recorded(package: Path, calls: list[Call]) -> Iterator[None]:
    """A block in which the calls of functions of ``package`` are appended to ``calls``."""

    def note(frame: FrameType, event: str, _argument: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(package):
            calls.append(Call(str(path.relative_to(package)), frame.f_code.co_name))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def walk(work: Callable[[], object], package: Path = PACKAGE) -> Walk:
    """The calls that ``work`` makes, after it ran once to make what is made only once."""
    work()
    calls: list[Call] = []
    with recorded(package, calls):
        work()
    return Walk(tuple(calls))


def make_works(options: Sequence[str]) -> dict[str, Callable[[], object]]:
    """The passes that are counted, on one image with one object."""
    cfg = get_default_config()
    cfg.merge_from_file(str(QUICKSTART))
    cfg.merge_from_list(["MODEL.WEIGHT", "", "MODEL.MASKIOU_ON", True, *options])
    torch.manual_seed(0)
    model = build_detection_model(cfg)
    height, width = IMAGE_HW
    image = torch.rand(1, 3, height, width)
    target = BoxList([[10.0, 10.0, 50.0, 50.0]], (width, height))
    target.add_field("labels", torch.tensor([1]))
    outline = [10.0, 10.0, 50.0, 10.0, 50.0, 50.0, 10.0, 50.0]
    target.add_field("masks", SegmentationMask([[outline]], (width, height)))

    def evaluate() -> None:
        with torch.no_grad():
            model.eval()(image)

    return {"training": lambda: model.train()(image, [target]), "evaluation": evaluate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--most", type=int, default=10, help="changes to list (default: 10)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args()
    for name, work in make_works(args.opts).items():
        counted = walk(work)
        print(f"{name}: {counted.summary()}")
        for (caller, called), number in counted.changes().most_common(args.most):
            print(f"  {number:3} {':'.join(caller)} -> {':'.join(called)}")


if __name__ == "__main__":
    main()
