"""Decodes JSON and MessagePack into structs so that an odd value is lost alone, without the fields around it.

Decoding with types is fast, but one value of a wrong type or out of range refuses the whole input. Only then is the
input decoded a second time, field by field.
"""

from __future__ import annotations

from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

from msgspec import NODEFAULT, Meta, Raw, Struct, ValidationError
from msgspec.json import Decoder
from msgspec.structs import FieldInfo, fields

if TYPE_CHECKING:
    from collections.abc import Callable

    Decode = Callable[..., Any]

T = TypeVar("T")

COMPLETE = Meta(description="a list whose missing items would count as deleted: an odd item refuses the whole list")
"""Annotation of a list. From any other list, an odd item is dropped."""


def decode_leniently(decode: Decode, data: bytes | Raw, shape: type[T], lost: Callable[[str], None]) -> T:
    """Decode ``data`` as ``shape`` with msgspec.json.decode or msgspec.msgpack.decode.

    Raises ValidationError if a required value is missing or odd.

    - An odd value of a field with the default None or "" becomes that default.
    - An odd item of a list is dropped, unless the list is ``COMPLETE`` or nothing would remain of it.

    ``lost`` is called with the name of the field for each value that became None and each item that was dropped. A
    value that became "" is a word, which is reported as unknown where words are parsed.
    """
    try:
        found: T = decode(data, type=shape)
    except ValidationError:
        pass
    else:
        return found
    names: list[str] = []
    found = _Lenient(decode, names).value(data, shape, "$")
    for name in names:
        lost(name)
    return found


def prepare(*shapes: type[Struct]) -> None:
    """Let msgspec read the definitions of ``shapes``, and of the structs in them, when a module is imported.

    Otherwise the first decoding does so, and msgspec (0.22) crashes the process if two threads do it at once.
    """
    for shape in shapes:
        Decoder(shape)


class _Lenient:
    """The second decoding. ``path`` is the place of a value, for messages."""

    def __init__(self, decode: Decode, lost: list[str]) -> None:
        self._decode = decode
        self._lost = lost

    def value(self, data: bytes | Raw, hint: Any, path: str) -> Any:
        try:
            return self._decode(data, type=hint)
        except ValidationError as error:
            message = str(error)
        hint, complete = _plain(hint)
        if get_origin(hint) is list:
            return self._items(data, get_args(hint)[0], path, complete=complete)
        if isinstance(hint, type) and issubclass(hint, Struct):
            return self._struct(data, hint, path)
        raise _at(path, message)

    def _struct(self, data: bytes | Raw, shape: type[Struct], path: str) -> Struct:
        found = self._parts(data, dict[str, Raw], path)
        values = {}
        for field in _fields(shape):
            name = field.name
            if name not in found:
                if field.default is NODEFAULT:
                    raise _at(path, f"Object missing required field `{name}`")
                continue
            try:
                values[name] = self.value(found[name], field.type, f"{path}.{name}")
            except ValidationError:
                if field.default is not None and field.default != "":
                    raise
                if field.default is None:
                    self._lost.append(name)
        return shape(**values)

    def _items(self, data: bytes | Raw, hint: Any, path: str, *, complete: bool) -> list[Any]:
        found = []
        refused: list[str] = []
        for index, item in enumerate(self._parts(data, list[Raw], path)):
            try:
                found.append(self.value(item, hint, f"{path}[{index}]"))
            except ValidationError as error:
                if complete:
                    raise
                refused.append(str(error))
        if refused and not found:
            raise ValidationError(refused[0])
        self._lost += [path.rpartition(".")[2]] * len(refused)
        return found

    def _parts(self, data: bytes | Raw, hint: Any, path: str) -> Any:
        try:
            return self._decode(data, type=hint)
        except ValidationError as error:
            message = str(error)
        raise _at(path, message)


def _at(path: str, message: str) -> ValidationError:
    return ValidationError(message if path == "$" else f"{message} - at `{path}`")


def _plain(hint: Any) -> tuple[Any, bool]:
    """The type without None and annotations, and whether it is a ``COMPLETE`` list."""
    if get_origin(hint) in (Union, UnionType):
        others = [each for each in get_args(hint) if each is not NoneType]
        hint = others[0] if len(others) == 1 else None
    if get_origin(hint) is Annotated:
        hint, *annotations = get_args(hint)
        return hint, COMPLETE in annotations
    return hint, False


@cache
def _fields(shape: type[Struct]) -> tuple[FieldInfo, ...]:
    return fields(shape)
