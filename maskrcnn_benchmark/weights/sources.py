"""What MODEL.WEIGHT stands for, and the settings that these weights need."""

import logging
from dataclasses import dataclass, replace
from typing import Literal

from maskrcnn_benchmark.config import CfgNode, paths_catalog
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.weight_settings import WeightSettings, assign, is_given
from maskrcnn_benchmark.utils.catalogs import catalog_class, import_catalog
from maskrcnn_benchmark.weights.download import cache_url
from maskrcnn_benchmark.weights.files import read_mapped, read_weight_file
from maskrcnn_benchmark.weights.library import LibraryWeights, find_library_weights

# Entry of a checkpoint: full name of each of its ``WeightSettings`` -> value.
SETTINGS_ENTRY = "settings"
_CATALOG = "catalog://"

Authority = Literal["must", "should", "may"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WeightSource:
    """Where the weights called ``name`` come from.

    Attributes:
        name: as MODEL.WEIGHT says it.
        address: a path, a URL, or a library and its model (``"torchvision://resnet50"``).
        settings: what the weights were trained with, None if nobody knows.
        authority: "must": other settings are an error; "should": settings that nobody gave are
            set, others cause a warning; "may": a warning only.
        library: loads them, if they are a library's.
    """

    name: str
    address: str
    settings: WeightSettings | None = None
    authority: Authority = "may"
    library: LibraryWeights | None = None


def find_weight_source(name: str, paths_to_catalog: str) -> WeightSource:
    """What ``name`` (a path, a URL or ``catalog://NAME``) stands for; nothing is downloaded.

    Raises:
        ConfigError: the catalog does not know the name, or a library is not there.
    """
    if name.startswith(_CATALOG):
        return _find_in_catalog(name, paths_to_catalog)
    library = find_library_weights(name)
    if library is not None:
        return WeightSource(name, name, library.settings, "must", library)
    return WeightSource(name, name, _recorded_settings(name), "should")


def _find_in_catalog(name: str, paths_to_catalog: str) -> WeightSource:
    entry = name.removeprefix(_CATALOG)
    # Libraries have the same names whatever catalog a user has.
    if entry.partition("/")[0] in paths_catalog.ModelCatalog.LIBRARIES:
        address = paths_catalog.ModelCatalog.get(entry)
        library = find_library_weights(address)
        settings = None if library is None else library.settings
        return WeightSource(name, address, settings, "must", library)
    catalog = catalog_class(import_catalog(paths_to_catalog), "ModelCatalog")
    # Catalogs that were written for the original have no ``settings``.
    settings = catalog.settings(entry) if hasattr(catalog, "settings") else None
    is_local = entry in getattr(catalog, "LOCAL_MODELS", ())
    return WeightSource(name, catalog.get(entry), settings, "should" if is_local else "may")


def _recorded_settings(path: str) -> WeightSettings | None:
    """What a checkpoint of ours says of itself; None for all other files and none at all."""
    return WeightSettings.from_keys(read_mapped(path).get(SETTINGS_ENTRY))


def make_settings_match_weights(cfg: CfgNode, *, by_names: bool = False) -> tuple[str, ...]:
    """Full names of the settings of ``cfg`` that were set to what MODEL.WEIGHT needs.

    Only settings that no file and no command line gave are set; a line of the log names them.
    Call it before ``cfg.freeze()``. ``by_names`` also sets what files with such names of tensors
    are usually trained with.

    Raises:
        ConfigError: somebody gave other values than torchvision's or timm's weights need, or
            ``cfg`` is frozen and would have to change.
        CheckpointError: ``by_names``, and the file is absent, damaged or would run code.
    """
    source = find_weight_source(cfg.MODEL.WEIGHT, cfg.PATHS_CATALOG)
    if by_names and source.name and source.settings is None:
        is_url = "://" in source.address
        path = cache_url(source.address) if is_url else source.address
        settings = read_weight_file(path, ()).settings
        source = replace(source, settings=settings, authority="should")
    if source.settings is None or source.authority == "may":
        return ()
    wrong = source.settings.differing(WeightSettings.from_config(cfg))
    given = tuple(key for key in wrong if is_given(cfg, key))
    if given and source.authority == "must":
        raise ConfigError(_contradiction(source, WeightSettings.from_config(cfg), given))
    wanted = source.settings.by_key()
    fitted = tuple(key for key in wrong if key not in given)
    for key in fitted:
        assign(cfg, key, wanted[key])
    if fitted:
        logger.info("%s: set %s", source.name, source.settings.as_options(fitted))
    return fitted


# The name under which scripts know it.
make_settings_fit = make_settings_match_weights


def check_settings(source: WeightSource, present: WeightSettings, strict: bool = False) -> None:
    """Warn of settings that do not fit the weights.

    Raises:
        ConfigError: settings differ, and the weights are torchvision's or timm's, or ``strict``.
    """
    wrong = source.settings.differing(present) if source.settings else ()
    if not wrong:
        return
    message = _contradiction(source, present, wrong)
    if strict or source.authority == "must":
        raise ConfigError(message)
    logger.warning("%s", message)


def _contradiction(source: WeightSource, present: WeightSettings, keys: tuple[str, ...]) -> str:
    assert source.settings is not None
    return (
        f"{source.name} was trained with {source.settings.as_options(keys)}; "
        f"the settings say {present.as_options(keys)}"
    )
