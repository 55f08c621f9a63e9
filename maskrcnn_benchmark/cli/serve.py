"""Show what a trained model finds, on a page in the browser, and answer programs.

Drop photos on the page; objects can be pointed at and switched off, the threshold moves without
asking the model again, and the picture and its results can be saved. Programs POST a photo to
/predict and get JSON: boxes, scores, class names, and masks as COCO run lengths.
Only this machine can reach it, unless --host says otherwise; there is no password.

For example:
  centermask serve run/model_best.pth
  curl -F file=@photo.jpg http://127.0.0.1:8000/predict
  centermask serve run/model_best.pth --host 0.0.0.0 --port 8080
"""

import argparse
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.cli.arguments import add_device, add_settings, make_parser, parse
from maskrcnn_benchmark.cli.model import load_any_predictor
from maskrcnn_benchmark.config.errors import MissingPackageError
from maskrcnn_benchmark.serve.limits import Limits
from maskrcnn_benchmark.utils.env import setup_environment
from maskrcnn_benchmark.utils.logger import PACKAGE_LOGGER, setup_logger

logger = logging.getLogger(__name__)

_PACKAGES = ("fastapi", "uvicorn", "python_multipart")
_MEBIBYTE = 2**20
_MEGAPIXEL = 1_000_000
_MAX_PORT = 65535


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("serve", __doc__)
    add, usual = parser.add_argument, Limits()
    add("model", metavar="MODEL", help="model_best.pth of a training")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="default: this machine alone")
    add("--port", type=int, default=8000, metavar="N", help="default: 8000; 0 takes a free one")
    mebibytes, megapixels = usual.num_bytes // _MEBIBYTE, usual.num_pixels // _MEGAPIXEL
    add("--max-mb", type=int, default=mebibytes, metavar="N", help="a photo (%(default)s)")
    add("--max-megapixels", type=int, default=megapixels, metavar="N", help="(%(default)s)")
    add("--max-requests", type=int, default=usual.num_requests, metavar="N", help="(%(default)s)")
    add("--max-seconds", type=float, default=usual.seconds, metavar="S", help="(%(default)s)")
    add("--config-file", metavar="FILE", help="settings, if the checkpoint has none")
    add_device(parser)
    add_settings(parser)
    args = parse(parser, words)
    if not 0 <= args.port <= _MAX_PORT:
        parser.error(f"--port: expected 0 to {_MAX_PORT}, got {args.port}")
    for name in ("max_mb", "max_megapixels", "max_requests", "max_seconds"):
        if not getattr(args, name) > 0:
            parser.error(f"--{name.replace('_', '-')}: expected more than 0")
    return args


def main(words: Sequence[str]) -> int:
    """The exit code, 0 after Ctrl-C."""
    args = parse_words(words)
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(package, '"centermask[serve]"')
    setup_environment()
    setup_logger(PACKAGE_LOGGER, None, 0)
    # Only now, as these may be absent, and PyTorch takes a second to import.
    from maskrcnn_benchmark.serve.app import make_app
    from maskrcnn_benchmark.serve.server import (
        allowed_hosts,
        is_loopback,
        make_server,
        open_socket,
    )

    limits = Limits(
        num_bytes=args.max_mb * _MEBIBYTE,
        num_pixels=args.max_megapixels * _MEGAPIXEL,
        num_requests=args.max_requests,
        seconds=args.max_seconds,
    )
    with open_socket(args.host, args.port) as listening:
        predictor = load_any_predictor(args.model, args.config_file, args.device, args.opts)
        name = Path(args.model).name
        server = make_server(make_app(predictor, name, limits, allowed_hosts(args.host)))
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        logger.info("Serving %s at http://%s:%d (Ctrl-C ends)", args.model, shown, port)
        if not is_loopback(args.host):
            logger.warning("Everybody who reaches this machine can use it: there is no password")
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            logger.info("Ended")
    return 0
