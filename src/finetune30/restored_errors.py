"""Errors that another process described with `Finetune30Error.as_dict`, as errors of this one."""

from __future__ import annotations

from typing import Any

from finetune30.errors import DataFileError, Finetune30Error


def restore_error(shape: dict[str, Any]) -> Finetune30Error:
    """Return the error that another process described with `as_dict`; one of an unknown code is of the base class."""
    kind = _find_kind(Finetune30Error, shape["error"]) or Finetune30Error
    details = shape.get("details") or {}
    error = kind.__new__(kind)
    Finetune30Error.__init__(error, shape["message"], shape.get("remedy", ""), details=details)
    if isinstance(error, DataFileError):
        error.file, error.line, error.column = details["file"], details["line"], details["column"]
    return error


def _find_kind(kind: type[Finetune30Error], code: str) -> type[Finetune30Error] | None:
    if vars(kind).get("code") == code:
        return kind
    return next((found for below in kind.__subclasses__() if (found := _find_kind(below, code))), None)
