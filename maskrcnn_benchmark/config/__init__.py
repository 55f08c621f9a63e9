"""Settings: their defaults, the files that change them, and what they mean together."""

from maskrcnn_benchmark.config.convention import Convention
from maskrcnn_benchmark.config.defaults import get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.node import CfgNode
from maskrcnn_benchmark.config.spec import ArchitectureSpec

cfg = get_default_config()

__all__ = [
    "ArchitectureSpec",
    "CfgNode",
    "ConfigError",
    "Convention",
    "cfg",
    "get_default_config",
]
