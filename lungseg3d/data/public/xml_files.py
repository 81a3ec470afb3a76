"""XML from strangers -> a tree without namespaces, or a refusal. Entities and document types are never looked at.

In: a file. Out: its root element. Knows no dataset.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from lungseg3d.core import LungSegError

_MOST_BYTES = 64 * 2**20
_MOST_DEPTH = 50
_REMEDY = "Download the file again, or take it out."


class _Refused(Exception):
    pass


class _Builder:
    """Expat's events -> a tree; a document type ends it, because entities are declared there."""

    def __init__(self) -> None:
        self.tree = TreeBuilder()
        self.depth = 0
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse_document_type
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self.tree.data

    def _refuse_document_type(self, *_: Any) -> None:
        raise _Refused("it declares a document type, which may hide entities")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise _Refused(f"its elements are nested more than {_MOST_DEPTH} deep")
        self.tree.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def _end(self, name: str) -> None:
        self.depth -= 1
        self.tree.end(_local(name))


def read_xml(path: Path | str) -> Element:
    """The root of an XML file; names come without their namespaces.

    Raises:
        LungSegError: E_XML when it is not well-formed, above 64 MiB, nested too deeply, or declares a document type.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _Refused(f"larger than {_MOST_BYTES // 2**20} MiB")
        builder = _Builder()
        builder.parser.Parse(path.read_bytes(), True)
        return builder.tree.close()
    except (_Refused, expat.ExpatError, OSError, ValueError, LookupError) as error:
        raise LungSegError("E_XML", f"{path.name}: no XML that can be read ({error}).", _REMEDY) from error


def _local(name: str) -> str:
    return name.rpartition("}")[2]
