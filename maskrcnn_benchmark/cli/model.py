"""The trained model that a command runs."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maskrcnn_benchmark.config.errors import ConfigError, MissingPackageError
from maskrcnn_benchmark.config.shipped import MODELS, find_config
from maskrcnn_benchmark.engine.settings import (
    load_checkpoint_settings,
    load_settings,
    make_settings_final,
)
from maskrcnn_benchmark.export.formats import EXPORT_FORMATS

if TYPE_CHECKING:
    from centermask_runtime.predictor import Predictor as ExportedPredictor
    from maskrcnn_benchmark.config import CfgNode
    from maskrcnn_benchmark.engine.predictor import Predictor


_EXPORTED: Final = ".onnx"
"""Suffix of the files that ``centermask_runtime`` runs."""
_OTHER_EXPORTS: Final = tuple(
    suffix
    for each in EXPORT_FORMATS.values()
    for suffix in (each.suffix, *each.companions)
    if suffix != _EXPORTED
)


def load_model_settings(
    model: str, config_file: str | None, device: str | None, opts: Sequence[str]
) -> "CfgNode":
    """The final settings of a model; arguments and errors as in ``load_predictor``."""
    cfg = find_model_settings(model, config_file, device)
    cfg.merge_from_list(list(opts))
    return make_settings_final(cfg)


def find_model_settings(model: str, config_file: str | None, device: str | None) -> "CfgNode":
    """The settings of a model, which may still be changed, with MODEL.WEIGHT and MODEL.DEVICE.

    Arguments and errors are those of ``load_predictor``.
    """
    path = Path(model).expanduser()
    if is_exported(model):
        raise ConfigError(
            f"{model} is an exported model, which `centermask predict` and `serve` alone run; name "
            "the checkpoint that it was made of"
        )
    if path.name.endswith(_OTHER_EXPORTS):
        raise ConfigError(
            f"{model} is an export for another program, which no command here runs but "
            "`centermask benchmark --exports`; name the checkpoint that it was made of, or "
            "export that with --format onnx"
        )
    shipped = MODELS.get(model)
    if shipped is not None and shipped.is_trained and not path.exists():
        return load_settings(shipped.path, ["MODEL.DEVICE", device or _any_device()])
    if path.is_file():
        own_file = find_config(config_file) if config_file else ""
        return load_checkpoint_settings(path, own_file, device)
    if inside := sorted(path.glob("*.pth")):
        best = path / "model_best.pth"
        raise ConfigError(
            f"{model} is a folder; name one of its models, such as "
            f"{best if best in inside else inside[-1]}"
        )
    trained = [name for name, each in MODELS.items() if each.is_trained]
    near = difflib.get_close_matches(model, trained, n=1) or trained[:1]
    raise ConfigError(
        f"no such model: {model} (looked for {path.absolute()}, and for the name of a "
        f"trained one, such as {near[0]}; `centermask models` lists them)"
    )


def _any_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def is_exported(model: str) -> bool:
    """Whether a model is named like an export, which needs no PyTorch."""
    return Path(model).suffix.lower() == _EXPORTED


def load_any_predictor(
    model: str, config_file: str | None, device: str | None, opts: Sequence[str]
) -> "Predictor | ExportedPredictor":
    """As ``load_predictor``, or the predictor of an exported model; PyTorch is not imported then.

    Raises:
        ConfigError: settings are given for an exported model, whose own are final.
        UserError: as the predictor of either kind.
    """
    if not is_exported(model):
        return load_predictor(model, config_file, device, opts)
    if config_file or opts:
        words = f"--config-file {config_file}" if config_file else " ".join(opts)
        raise ConfigError(
            f"{words}: the settings of an exported model are part of it; give them to "
            "`centermask export`"
        )
    try:
        from centermask_runtime.predictor import Predictor as ExportedPredictor
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise MissingPackageError("onnxruntime", "onnxruntime") from error
    return ExportedPredictor.from_onnx(model, device)


def load_predictor(
    model: str, config_file: str | None, device: str | None, opts: Sequence[str]
) -> "Predictor":
    """The predictor of the model in a file, or of one whose weights are downloaded.

    Args:
        model: a checkpoint, or the short name of a trained model, as "torchvision-mask-rcnn".
        config_file: settings, for checkpoints that have none.
        device: "cpu", "cuda" or "cuda:N"; None takes a GPU if there is one.
        opts: names and values of settings in turn, over all others.

    Raises:
        ConfigError: there is no such file, or a setting cannot be used.
        CheckpointError: the file is none that can be used.
    """
    cfg = load_model_settings(model, config_file, device, opts)
    # Only now, as PyTorch takes a second to import: a wrong argument is reported at once.
    from maskrcnn_benchmark.engine.predictor import Predictor

    return Predictor.from_config(cfg, cfg.MODEL.WEIGHT)
