"""Train a model on annotated photos and evaluate it.

PATH is a folder or file in any common format (COCO and Roboflow exports, YOLO-seg, LabelMe, VIA,
Pascal VOC, Cityscapes, mask images), told by looking. Classes are counted in it, and without a
validation part a fifth of the photos is kept for that. The same command goes on with an
unfinished training. OUTPUT/model_best.pth, that of the best evaluation on the way, is all that
test and predict need.

For example:
  centermask train --data my_photos
  centermask train --data my_photos --model centermask-lite-r50 --epochs 50 --device cuda
  centermask train --data labels.json@photos --val val.json@photos SOLVER.IMS_PER_BATCH 2
"""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from maskrcnn_benchmark.cli.arguments import add_device, add_settings, make_parser, parse
from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.shipped import find_config, find_model
from maskrcnn_benchmark.engine.recipes import (
    FEW_PHOTOS,
    PUBLISHED,
    RECIPES,
    Circumstances,
    TrainingData,
    make_recipe,
)
from maskrcnn_benchmark.engine.settings import load_settings

if TYPE_CHECKING:
    from maskrcnn_benchmark.data.datasets.readers import ContentReader

_DEFAULT_MODEL: Final = "centermask-lite-mv2"


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("train", __doc__)
    add = parser.add_argument
    add("--data", metavar="PATH", help="annotated photos to train on")
    add("--val", metavar="PATH", help="others to evaluate on (default: the validation part)")
    add("--format", metavar="F", help="of the annotations, if looking does not tell")
    add("--model", metavar="NAME", help=f"see `centermask models` (default: {_DEFAULT_MODEL})")
    add("--config-file", metavar="FILE", help="settings of your own, or configs/... of the package")
    add("--recipe", choices=RECIPES, help=f"schedule (default: small below {FEW_PHOTOS} photos)")
    add("--epochs", type=float, metavar="N", help="passes over the photos")
    add("--patience", type=int, metavar="N", help="end after N evaluations without a better one")
    add("--weights", metavar="W", help="file, URL or catalog:// name to start from")
    add("--output", metavar="DIR", help="for log, checkpoints, results (default: output/...)")
    add("--skip-test", action="store_true", help="do not evaluate the trained model")
    add_device(parser)
    add_settings(parser)
    args = parse(parser, words)
    if args.epochs is not None and not 0 < args.epochs < math.inf:
        parser.error(f"--epochs: expected a number above 0, got {args.epochs}")
    if args.patience is not None and args.patience < 1:
        parser.error(f"--patience: expected at least 1, got {args.patience}")
    if args.weights and "://" not in args.weights and not Path(args.weights).expanduser().exists():
        parser.error(f"--weights: no such file: {args.weights}")
    if not (args.data or args.config_file):
        parser.error("name your annotated photos: --data PATH")
    return args


def main(words: Sequence[str]) -> int:
    """The exit code, 0."""
    args = parse_words(words)
    cfg, read = _make_settings_and_reader(args)
    from maskrcnn_benchmark.engine.build import make_training
    from maskrcnn_benchmark.engine.launch import make_run

    with make_run(cfg) as run:
        make_training(cfg, run, tests=not args.skip_test, read=read)
    if _is_first_process():
        from maskrcnn_benchmark.engine.validation import ValidationSettings

        weights = ValidationSettings.from_config(cfg).result_path(Path(cfg.OUTPUT_DIR))
        sys.stdout.write(_what_next(weights, args.data))
    return 0


def make_settings(args: argparse.Namespace) -> CfgNode:
    """The settings of the training: the model's, under the recipe's, under the given ones.

    Raises:
        ConfigError: they cannot be used, or the model does not suit the data.
        DatasetError: the data cannot be used.
    """
    cfg, _ = _make_settings_and_reader(args)
    return cfg


def _make_settings_and_reader(args: argparse.Namespace) -> tuple[CfgNode, "ContentReader"]:
    """The settings, and what has read the annotations for them."""
    base_file = _base_file(args)
    options = [*_options(args), *args.opts]
    own_file = find_config(args.config_file) if args.config_file else ""
    extra_file = own_file if args.model else ""
    given = _merged([], extra_file, options)
    cfg = _merged([], base_file, [], extra_file, options)
    # Only now, as PyTorch takes a second to import: help and wrong settings are reported at once.
    from maskrcnn_benchmark.data.datasets.readers import ContentReader
    from maskrcnn_benchmark.data.sources import full_name

    read = ContentReader()
    data = _make_data_facts(cfg, read)
    _make_checks(cfg, data, args)
    chosen = dict.fromkeys(_make_class_keys(cfg, given), data.num_classes)
    recipe = _recipe_name(args, data)
    if recipe:
        base = load_settings(base_file)
        chosen |= make_recipe(recipe, base, given, data, _make_circumstances(args, cfg))
    if _is_first_process():
        sys.stdout.write(_announcement(recipe, data, chosen))
    over_model = [part for item in chosen.items() for part in item]
    cfg = _merged([], base_file, over_model, extra_file, options)
    # Those in a checkpoint are read in other folders than this one.
    cfg.DATASETS.TRAIN = tuple(map(full_name, cfg.DATASETS.TRAIN))
    cfg.DATASETS.TEST = tuple(map(full_name, cfg.DATASETS.TEST))
    return cfg, read


def _merged(*layers: Any) -> CfgNode:
    """The defaults under files (paths; "" is none) and lists of settings, each over the last."""
    cfg = load_settings()
    for layer in layers:
        if isinstance(layer, list):
            cfg.merge_from_list(layer)
        elif layer:
            cfg.merge_from_file(layer)
    return cfg


def _base_file(args: argparse.Namespace) -> Path:
    """The settings of the model: those of --model, else the file."""
    if args.config_file and not args.model:
        return find_config(args.config_file)
    return find_model(args.model or _DEFAULT_MODEL).path


def _options(args: argparse.Namespace) -> list[Any]:
    """What options say, as names and values of settings in turn."""
    options: dict[str, Any] = {}
    if args.data:
        options["DATASETS.TRAIN"] = (args.data,)
        options["DATASETS.TEST"] = (args.val or args.data,)
        model = args.model or Path(args.config_file or _DEFAULT_MODEL).stem
        stem = Path(args.data.partition("@")[0].partition("#")[0]).resolve().stem
        options["OUTPUT_DIR"] = f"output/{stem}-{model}"
    named = {
        "OUTPUT_DIR": args.output,
        "DATASETS.FORMAT": args.format,
        "MODEL.DEVICE": args.device,
        "MODEL.WEIGHT": args.weights,
        "SOLVER.EARLY_STOP_PATIENCE": args.patience,
    }
    options |= {key: value for key, value in named.items() if value is not None}
    return [part for item in options.items() for part in item]


def _make_data_facts(cfg: CfgNode, read: "ContentReader") -> TrainingData:
    """What there is to train on."""
    from maskrcnn_benchmark.data.build import make_training_data

    dataset = make_training_data(cfg, read)
    return TrainingData(len(dataset), len(dataset.categories) + 1, dataset.has_masks)


def _make_checks(cfg: CfgNode, data: TrainingData, args: argparse.Namespace) -> None:
    """Raise if the model wants outlines and the data have none."""
    from maskrcnn_benchmark.config.spec import ArchitectureSpec, options_without_masks

    if data.has_outlines or "masks" not in ArchitectureSpec.from_config(cfg).target_fields:
        return
    where = args.data or ", ".join(cfg.DATASETS.TRAIN)
    without = " ".join(options_without_masks(cfg))
    same = f"; or the same model without masks, by adding: {without}" if without else ""
    raise ConfigError(
        f"{where} has boxes but no outlines, and this model is trained with outlines. Choose one "
        f"of boxes, --model faster-rcnn-r50 or --model retinanet-r50{same}"
    )


def _make_class_keys(cfg: CfgNode, given: CfgNode) -> tuple[str, ...]:
    """The settings that take the class count of the data: none if somebody gave one of them."""
    from maskrcnn_benchmark.config.spec import ArchitectureSpec, class_keys

    keys = class_keys(cfg)
    is_chosen = ArchitectureSpec.from_config(cfg).box_only or any(map(given.is_given, keys))
    return () if is_chosen else keys


def _recipe_name(args: argparse.Namespace, data: TrainingData) -> str:
    """The recipe; "" leaves a file of one's own as it is."""
    if args.recipe:
        return str(args.recipe)
    if args.model or not args.config_file:
        return data.recipe
    return PUBLISHED if args.epochs else ""


def _make_circumstances(args: argparse.Namespace, cfg: CfgNode) -> Circumstances:
    import torch

    has_model = args.model or not args.config_file
    return Circumstances(
        on_gpu=cfg.MODEL.DEVICE != "cpu" and torch.cuda.is_available(),
        num_processes=int(os.environ.get("WORLD_SIZE", "1")),
        epochs=args.epochs,
        has_validation=bool(cfg.DATASETS.TEST),
        weights=find_model(args.model or _DEFAULT_MODEL).weights if has_model else "",
    )


def _announcement(recipe: str, data: TrainingData, chosen: Mapping[str, Any]) -> str:
    """What was chosen and why; the whole of the settings is in the log."""
    num_classes = data.num_classes - 1
    classes = "class" if num_classes == 1 else "classes"
    lines = [f"{data.num_photos} photos to train on, {num_classes} {classes}"]
    if recipe:
        lines.append(f"recipe {recipe}; --recipe takes the other, KEY VALUE what you want:")
    lines += [f"  {key} {value}" for key, value in chosen.items()]
    return "".join(f"{line}\n" for line in lines)


def _what_next(weights: Path, data: str | None) -> str:
    return (
        f"\nThe model is {weights}. Next:\n"
        f"  centermask predict {weights} PHOTOS --output drawn\n"
        f"  centermask serve {weights}\n"
        f"  centermask test {weights}" + (f" --data {data}\n" if data else "\n")
    )


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
