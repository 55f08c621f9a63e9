"""The systems that are compared: the rows of MODEL_ZOO.json that have the key ``system``."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "MODEL_ZOO.json"


class System(NamedTuple):
    """One that is compared.

    Attributes:
        name: of its row.
        family: what its backbone stands behind.
        label: what tells it from others of its family.
        config: its file of settings, None where it is not in this package.
        mask_ap: published, percent.
        split: the part of COCO that this is of.
        published_ms: published time of an image, None if there is none.
        gpu: that this was taken on.
        multiply_adds: measured here, None without settings.
    """

    name: str
    family: str
    label: str
    config: str | None
    mask_ap: float
    split: str
    published_ms: float | None
    gpu: str | None
    multiply_adds: int | None


def read_systems(zoo: Path = ZOO) -> list[System]:
    """The systems of a zoo file, in its order.

    Raises:
        ValueError: two have one name.
    """
    rows = json.loads(zoo.read_text(encoding="utf-8"))["models"]
    systems = [
        System(
            name=row["model"],
            family=row["system"]["family"],
            label=row["system"]["label"],
            config=row["config"],
            mask_ap=row["mask"]["AP"],
            split=row["split"],
            published_ms=row["ms"],
            gpu=row["gpu"],
            multiply_adds=row["measured"]["multiply_adds"] if row.get("measured") else None,
        )
        for row in rows
        if "system" in row
    ]
    names = [system.name for system in systems]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{zoo}: expected one system a name, got several {', '.join(twice)}")
    return systems


def choose(systems: Sequence[System], texts: Iterable[str]) -> list[System]:
    """The systems whose names have one of the texts, whatever their case; without texts, all.

    Raises:
        ValueError: no name has a text.
    """
    wanted = [text.casefold() for text in texts]
    names = [system.name.casefold() for system in systems]
    for text in wanted:
        if not any(text in name for name in names):
            known = ", ".join(system.name for system in systems)
            raise ValueError(f"--only {text!r}: expected a part of one of {known}")
    return [
        system
        for system, name in zip(systems, names, strict=True)
        if not wanted or any(text in name for text in wanted)
    ]
