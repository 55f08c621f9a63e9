"""From the name of a data set, in the catalog or of a path, to the data set."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data import datasets
from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.content import CocoContent
from maskrcnn_benchmark.data.datasets.interface import (
    AdaptedDataset,
    DetectionDataset,
    as_detection_dataset,
)
from maskrcnn_benchmark.data.datasets.readers import PartReader, read_content
from maskrcnn_benchmark.data.sources import catalog_entry
from maskrcnn_benchmark.data.transforms.transforms import Transform
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.utils.catalogs import catalog_class, import_catalog

_OF_THE_RUN: Final = (
    *("transforms", "remove_images_without_annotations", "name", "pixel_offset"),
    "keep_unannotated",
)
"""Arguments of data sets that a run gives, not the catalog."""


def make_known_categories(cfg: CfgNode, name: str) -> Mapping[int, str]:
    """The categories of a data set as far as they are known without its photos; else nothing.

    The name need not be in the catalog of the settings.
    """
    catalog = catalog_class(import_catalog(cfg.PATHS_CATALOG), "DatasetCatalog")
    try:
        entry = make_entry(cfg, catalog, name, name in cfg.DATASETS.TRAIN)
    except ConfigError:
        return {}
    known = getattr(_factory(name, entry), "known_categories", AdaptedDataset.known_categories)
    return cast("Mapping[int, str]", known(**entry["args"]))


def load_dataset(name: str, catalog_file: str) -> DetectionDataset:
    """A data set of a catalog with all of its images, without transforms.

    Raises:
        ConfigError: there is no such catalog or name.
        DatasetError: the data set cannot be used.
    """
    catalog = catalog_class(import_catalog(catalog_file), "DatasetCatalog")
    return make_dataset(name, _catalog_entry(catalog, name))


def make_entry(cfg: CfgNode, catalog: Any, name: str, is_train: bool) -> Mapping[str, Any]:  # noqa: ANN401 - a user's class
    """What the catalog says of a data set, or else the file or folder of that name."""
    if name not in getattr(catalog, "DATASETS", ()):
        others = cfg.DATASETS.TEST if is_train else cfg.DATASETS.TRAIN
        entry = catalog_entry(name, others, is_train=is_train, format_name=cfg.DATASETS.FORMAT)
        if entry is not None:
            return entry
    return _catalog_entry(catalog, name)


def _catalog_entry(catalog: Any, name: str) -> Mapping[str, Any]:  # noqa: ANN401 - a user's class
    """What ``get`` of a catalog, which may be a user's own, gives.

    Raises:
        ConfigError: it fails, or gives another thing than it must.
    """
    try:
        entry = catalog.get(name)
    except (LookupError, TypeError, AttributeError, NameError) as error:
        raise ConfigError(
            f"PATHS_CATALOG: DatasetCatalog.get({name!r}) fails: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(entry, Mapping) or not {"factory", "args"} <= set(entry):
        raise ConfigError(
            f"PATHS_CATALOG: DatasetCatalog.get({name!r}) must give "
            f"{{'factory': ..., 'args': {{...}}}}, not {entry!r:.80}"
        )
    return entry


def make_dataset(
    name: str,
    entry: Mapping[str, Any],
    with_targets: bool = False,
    transforms: Transform | None = None,
    spec: ArchitectureSpec | None = None,
    read: Callable[..., CocoContent] = read_content,
    pixel_offset: int = LEGACY_PIXEL_OFFSET,
    keep_unannotated: bool = False,
) -> DetectionDataset:
    """The data set of a catalog entry; ``spec`` is of the model that it is for, if there is one."""
    factory, args = _factory(name, entry), entry["args"]
    _check_arguments(name, factory, args)
    more: dict[str, Any] = {"transforms": transforms}
    if isinstance(factory, type) and issubclass(factory, COCODataset):
        fields = None if spec is None else tuple(spec.target_fields)
        more |= {"remove_images_without_annotations": with_targets, "name": name, "fields": fields}
        more |= {"pixel_offset": pixel_offset, "keep_unannotated": keep_unannotated}
        made = factory.from_entry(args, read, **more)
        reader = args.get("reader")
        made.division_part = reader.split if isinstance(reader, PartReader) else ""
        return made
    nameless = {label: f"class {label}" for label in range(1, spec.num_classes if spec else 1)}
    return as_detection_dataset(factory(**args, **more), name, nameless)


def _check_arguments(name: str, factory: Callable[..., object], given: Mapping[str, Any]) -> None:
    """Raise if an entry lacks an argument of its factory, or has one that it does not know."""
    parameters = inspect.signature(factory).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    of_entry = {one.name: one for one in parameters if one.name not in _OF_THE_RUN}
    is_coco = isinstance(factory, type) and issubclass(factory, COCODataset)
    known = {*of_entry, *({"reader"} if is_coco else ())}
    missing = [one for one in of_entry.values() if one.default is one.empty]
    wrong = [f"{key!r} is unknown" for key in given if key not in known]
    wrong += [f"{one.name!r} is missing" for one in missing if one.name not in given]
    if wrong:
        raise ConfigError(
            f"the data set {name}, entry {dict(given)!r:.200}: {', '.join(wrong)}; known: "
            f"{', '.join(sorted(known))}"
        )


def _factory(name: str, entry: Mapping[str, Any]) -> Callable[..., object]:
    """What makes the data set of a catalog entry."""
    factory: Any = entry["factory"]
    if not isinstance(factory, str):
        return cast("Callable[..., object]", factory)
    if not isinstance(getattr(datasets, factory, None), type):
        known = ", ".join(datasets.__all__)
        raise ConfigError(f"unknown factory {factory!r} of the data set {name}; known: {known}")
    return cast("Callable[..., object]", getattr(datasets, factory))
