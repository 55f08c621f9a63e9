"""A user's own set-up code, run before training or testing starts."""

import os

from maskrcnn_benchmark.utils.imports import import_file

ENV_MODULE_VARIABLE = "TORCH_DETECTRON_ENV_MODULE"


def setup_environment() -> None:
    """Run ``setup_environment()`` of the Python file that ``TORCH_DETECTRON_ENV_MODULE`` names.

    Does nothing when the variable is unset or empty. The tools call it first.

    Raises:
        FileNotFoundError: the variable names no file.
        ValueError: the file has no function ``setup_environment``.
    """
    # UPSTREAM(setup-on-call): maskrcnn-benchmark ran this when the module was imported; here
    # importing has no effects, so a script that relies on it calls it.
    path = os.environ.get(ENV_MODULE_VARIABLE)
    if not path:
        return
    module = import_file("maskrcnn_benchmark.utils.env.custom_module", path)
    custom_setup = getattr(module, "setup_environment", None)
    if not callable(custom_setup):
        raise ValueError(
            f"{ENV_MODULE_VARIABLE}={path}: the file needs a function setup_environment(), "
            f"found {custom_setup!r}"
        )
    custom_setup()
