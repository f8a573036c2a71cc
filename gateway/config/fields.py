"""What the configuration's models hold, seen from their keys.

A key is a path: field names, names of plans and aliases, and indexes of ``[[…]]`` entries, as in
``("upstreams", 0, "api_key")``. Everything that must know which keys exist, which of them are secret and what a
value's neighbours are called asks here, so that adding a field to a part's settings is the whole change.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gateway.core.units import Confidential

Path = tuple[str | int, ...]
Model = type[BaseModel]


def unwrap(annotation: Any) -> Any:
    """Return the type inside ``Annotated`` and ``… | None``."""
    while True:
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            annotation = args[0]
        elif origin in (Union, types.UnionType) and len(set(args) - {type(None)}) == 1:
            annotation = next(arg for arg in args if arg is not type(None))
        else:
            return annotation


def is_model(annotation: Any) -> bool:
    """Say whether the type is one with keys of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def element(annotation: Any) -> Any:
    """Return the type of the values of a table with free names or of a list; None for anything else."""
    annotation = unwrap(annotation)
    if get_origin(annotation) is dict:
        return unwrap(get_args(annotation)[1])
    if get_origin(annotation) is tuple:
        return unwrap(get_args(annotation)[0])
    return None


def is_list(annotation: Any) -> bool:
    """Say whether the value is a list."""
    return get_origin(unwrap(annotation)) is tuple


def is_table(annotation: Any) -> bool:
    """Say whether the value is a table with free names."""
    return get_origin(unwrap(annotation)) is dict


def is_secret(field: FieldInfo) -> bool:
    """Say whether the field's value must not be shown."""
    return unwrap(field.annotation) is SecretStr or any(isinstance(mark, Confidential) for mark in field.metadata)


def type_at(model: Model, path: Path) -> Any:
    """Return the type of the value at a path; None where nothing is known there."""
    here: Any = model
    for step in path:
        if is_model(here):
            field = here.model_fields.get(step)
            here = unwrap(field.annotation) if field else None
        else:
            here = element(here)
    return here


def holds_secret(model: Model, path: Path) -> bool:
    """Say whether a value at this path may hold a secret: it is one, is above one, or is nothing we know."""
    here: Any = model
    for step in path:
        if is_model(here):
            field = here.model_fields.get(step)
            if field is None or is_secret(field):
                return True
            here = unwrap(field.annotation)
        else:
            here = element(here)
    tables = (kind for kind in (here, element(here)) if is_model(kind))
    return any(is_secret(field) for table in tables for _, field in walk(table))


def walk(model: Model, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Yield every key that holds a value; the name of a table or the index of an entry is given as ``*``."""
    for name, field in model.model_fields.items():
        kind, inner = unwrap(field.annotation), element(field.annotation)
        if is_model(kind):
            yield from walk(kind, (*prefix, name))
        elif is_model(inner):
            yield from walk(inner, (*prefix, name, "*"))
        else:
            yield (*prefix, name), field


def dotted(path: Path) -> str:
    """Write a path as in the file: ``plans.default.models``, ``upstreams[0].api_key``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def nearest(model: Model, path: Path) -> str | None:
    """Return the known key that is most likely meant by an unknown one, written as the file has it."""
    *above, last = path
    parent = type_at(model, tuple(above))
    if is_model(parent) and (close := difflib.get_close_matches(str(last), list(parent.model_fields), n=1)):
        return dotted((*above, close[0]))
    known = (".".join(step for step in key if step != "*") for key, _ in walk(model))
    return next((name for name in known if name.rpartition(".")[2] == last), None)
