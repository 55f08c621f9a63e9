"""Photos that cannot be read, and photos that occur twice.

A photo's hash has a bit for each pair of neighbours on a small grey picture of it: which is
brighter. Copies in another size or quality differ in few bits; pictures of few bits' difference are
then compared. Source: the "difference hash" of N. Krawetz, Kind of Like That, 2013.

Shapes: P photos.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskrcnn_benchmark.data.datasets.interface import DetectionDataset
from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from maskrcnn_benchmark.data.inspection.findings import (
    ERROR,
    REMOVE_PHOTOS,
    WARNING,
    Finding,
    Place,
)

_SIDE: Final = 16
_BAND_BYTES: Final = 4
_STEP: Final = 1.5
"""Of 255; smaller differences come and go with the quality."""
_MOST_BITS: Final = 48
"""Of 480 that may differ. There are 15 bands of 32 bits: copies share one of them."""
_MEAN_DIFFERENCE: Final = 2.5
_LARGEST_DIFFERENCE: Final = 32.0
"""Of the small pictures, of 255."""


class Signature(NamedTuple):
    """What is kept of a photo.

    Attributes:
        bits: (60,) uint8, the hash.
        small: (16, 16, 3) float32, a small version of it.
    """

    bits: NDArray[np.uint8]
    small: NDArray[np.float32]

    @classmethod
    def of(cls, image: Image.Image) -> "Signature":
        """That of a photo."""
        small = np.asarray(
            image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32
        )
        grey = small.mean(axis=2)
        bits = np.concatenate(
            [(grey[:, 1:] > grey[:, :-1]).ravel(), (grey[1:] > grey[:-1]).ravel()]
        )
        return cls(np.packbits(bits), small)

    def is_of_the_same_photo(self, other: "Signature") -> bool:
        """Whether the photos are copies of each other, perhaps in another size or quality."""
        differing = int(np.unpackbits(self.bits ^ other.bits).sum())
        difference = np.abs(self.small - other.small)
        return (
            differing <= _MOST_BITS
            and float(difference.mean()) <= _MEAN_DIFFERENCE
            and float(difference.max()) <= _LARGEST_DIFFERENCE
        )


class PhotoLook(NamedTuple):
    """What a look at all photos of a data set found.

    Attributes:
        unreadable: position -> what is wrong.
        signatures: position -> what is kept of it, of all others.
    """

    unreadable: Mapping[int, str]
    signatures: Mapping[int, Signature]


def look_at_photos(dataset: DetectionDataset) -> PhotoLook:
    """Read all photos of a data set."""
    unreadable, signatures = {}, {}
    for index in range(len(dataset)):
        try:
            signatures[index] = Signature.of(_read(dataset, index))
        except ImageReadError as error:  # noqa: PERF203 - reading takes thousands of times as long
            unreadable[index] = str(error)
    return PhotoLook(unreadable, signatures)


def _read(dataset: DetectionDataset, index: int) -> Image.Image:
    try:
        return dataset.read_image(index)
    except ImageReadError:
        raise
    except DatasetError:  # A data set of one's own may give photos with their targets alone.
        image: Image.Image = dataset[index][0]
        return image


def find_copies(signatures: Sequence[Signature]) -> list[tuple[int, int]]:
    """Pairs of positions, the smaller first, of the same photo: each with the first of its kind."""
    buckets: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    first_of: dict[int, int] = {}
    for position, signature in enumerate(signatures):
        text = signature.bits.tobytes()
        keys = [(i, text[i : i + _BAND_BYTES]) for i in range(0, len(text), _BAND_BYTES)]
        near = sorted({other for key in keys for other in buckets[key]})
        for other in near:
            if signature.is_of_the_same_photo(signatures[other]):
                first_of[position] = other
                break
        else:
            # Copies of copies are told with the first alone.
            for key in keys:
                buckets[key].append(position)
    return [(first, position) for position, first in first_of.items()]


def find_in_photos(dataset: DetectionDataset, look: PhotoLook) -> list[Finding]:
    """Photos that cannot be used, and those that are copies."""
    positions = list(look.signatures)
    copies = find_copies([look.signatures[position] for position in positions])
    names = [photo_name(dataset, position) for position in positions]
    places = tuple(
        Place(f"{names[second]} is {names[first]}", positions[second]) for first, second in copies
    )
    unreadable = tuple(Place(photo_name(dataset, index), index) for index in look.unreadable)
    return [
        Finding(ERROR, "photos that cannot be read", unreadable, cure=REMOVE_PHOTOS),
        Finding(WARNING, "photos that occur twice", places, cure=REMOVE_PHOTOS),
    ]


def find_across(
    looks: Mapping[str, PhotoLook], datasets: Mapping[str, DetectionDataset]
) -> dict[str, Finding]:
    """Photos of one part that are in another part, too, told of the later one of both."""
    found: dict[str, list[Place]] = {split: [] for split in looks}
    for one, other in combinations(looks, 2):
        mine, theirs = (list(looks[split].signatures.items()) for split in (one, other))
        pairs = find_copies([signature for _, signature in (*mine, *theirs)])
        for first, second in pairs:
            if first < len(mine) <= second:
                here = theirs[second - len(mine)][0]
                name = photo_name(datasets[other], here)
                there = photo_name(datasets[one], mine[first][0])
                found[other].append(Place(f"{name} is {there} of {one}", here))
    advice = "what a model was trained on says nothing of how it does on new photos"
    return {
        split: Finding(
            ERROR, "photos that are in another part, too", tuple(places), advice, REMOVE_PHOTOS
        )
        for split, places in found.items()
    }


def photo_name(dataset: DetectionDataset, index: int) -> str:
    """The name of a photo's file, or its id."""
    return str(dataset.get_img_info(index).get("file_name", f"image {dataset.image_ids[index]}"))
