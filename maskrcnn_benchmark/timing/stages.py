"""Where the time of one call goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# Submodules of a detector that are timed, and what their work is called. What a module does apart
# from those inside it comes last: the pyramid is the backbone without its body.
PARTS = {
    "backbone.body": "backbone",
    "backbone": "pyramid",
    "rpn.head": "head",
    "rpn": "selection",
    "roi_heads": "mask heads",
}
WHOLE_BACKBONE = "backbone, pyramid"
"""The stage of a backbone whose body is not a module of its own any longer."""
STAGES = ("decode", "resize", "network", WHOLE_BACKBONE, *PARTS.values(), "paste, RLE")
"""All of them, in the order in which they come; the network of others is one."""


class StageTimes:
    """Seconds of each stage of the last call.

    Stages may lie in others; each has what is not that of a stage inside it.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[float] = []

    def clear(self) -> None:
        """Forget the last call."""
        self.seconds = {}

    def begin(self) -> None:
        """Start a stage."""
        # Seconds of the stages inside it are taken off already.
        self._open.append(time.perf_counter())

    def end(self, stage: str) -> None:
        """End the stage that was started last, and give it its name."""
        now = time.perf_counter()
        spent = now - self._open.pop()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        # For the stage around it, this one took no time.
        self._open = [start + spent for start in self._open]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A block that is a stage."""
        self.begin()
        yield
        self.end(name)

    def watch(self, detect: Callable[..., Any]) -> None:
        """Time the parts of a detector from now on, as far as it has them."""
        if not isinstance(detect, nn.Module):
            return
        modules = dict(detect.named_modules())
        inner = {} if "backbone.body" in modules else {"backbone": WHOLE_BACKBONE}
        for path, stage in {**PARTS, **inner}.items():
            if path in modules:
                modules[path].register_forward_pre_hook(lambda *_: self.begin())
                modules[path].register_forward_hook(lambda *_, stage=stage: self.end(stage))
