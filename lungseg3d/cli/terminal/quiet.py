"""Quiet start: the warning lines that MONAI, PyTorch and MLflow print although nothing is wrong.

In: nothing. Out: filters on exactly these warnings and loggers, in this process. Knows the libraries by name only.
Anything not listed here still shows, and nothing is silenced after `--debug`.
"""

from __future__ import annotations

import logging
import os
import warnings

# (message, module) as `warnings.filterwarnings` matches them: from the start of the text, of the dotted module name.
_WARNINGS = (
    # Said for every bundle, also our own: that a configuration names classes. Users choose their bundle's folder.
    (r"parsing config_file .*`\"_target_\"`", r"monai|runpy|__main__|lungseg3d|fire"),
    # An optional GPU decoder for DICOM; our reader does not use it.
    (r"NvImgCodecPydicomReader: nvImageCodec decoder plugin did not register", r"monai"),
    # MONAI 1.6 compiles small functions with torch.jit at import.
    (r"`torch\.jit\.", r"torch|monai"),
    # CUDA builds of PyTorch on a machine without a driver: --device auto takes the CPU then, and says so.
    (r"CUDA initialization: ", r"torch"),
    (r"User provided device_type of 'cuda', but CUDA is not available", r"torch"),
)


class _Without(logging.Filter):
    """Drops records whose message begins with a text."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self.beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.beginning)


_LOG_LINES = (
    ("monai.data.nvimgcodec_pydicom_plugin", "nvImageCodec is not available"),
    ("monai.bundle.workflows", "Default logging file in "),
)
_LOUD_AT_INFO = ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent")


def quieten() -> None:
    """Silence the listed lines; to be called before MONAI, PyTorch or MLflow is imported. Calling twice is harmless."""
    for message, module in _WARNINGS:
        warnings.filterwarnings("ignore", message=message, module=module)
    for logger, beginning in _LOG_LINES:
        named = logging.getLogger(logger)
        if not any(isinstance(known, _Without) for known in named.filters):
            named.addFilter(_Without(beginning))
    for logger in _LOUD_AT_INFO:
        logging.getLogger(logger).setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
