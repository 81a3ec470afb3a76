"""Finds, in a syntax tree, every call that makes or changes a file by itself instead of by the one writer.

In: the tree of a module. Out: the calls, by function and line. An open file or a path that the writer gave out
(`with writing(path) as file`) may be handed to whoever writes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

GIVES_FILES = {"writing", "placing", "growing", "scratch_file"}
# Methods and functions that write to what they are given: a path, or an open file of the writer.
_WRITERS = {
    *("write_text", "write_bytes", "touch", "save", "savez", "savez_compressed", "savetxt", "save_as", "dcmwrite"),
    *("to_filename", "to_stream", "to_csv", "tofile", "savefig", "memmap", "WriteImage", "SetFileName"),
    *("dump", "export", "save_pretrained", "save_file", "copyfileobj", "imsave", "imwrite", "GzipFile", "BZ2File"),
    *("ZipFile", "TarFile", "LZMAFile", "FileHandler", "RotatingFileHandler", "fileConfig", "extract", "extractall"),
}
_FORBIDDEN = {
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree", "unpack_archive", "make_archive"},
    "os": {
        *("replace", "rename", "renames", "link", "symlink", "mkdir", "makedirs", "truncate", "mkfifo", "fdopen"),
        *("write", "pwrite", "sendfile", "chmod", "removedirs"),
    },
    "sqlite3": {"connect"},
    "dbm": {"open"},
    "shelve": {"open"},
}
_PATH_METHODS = {"mkdir", "rename", "symlink_to", "hardlink_to", "mkfifo"}
# Modules whose functions take the mode second, as the built-in `open` does.
_MODE_SECOND = {"io", "gzip", "bz2", "lzma", "codecs", "zipfile", "tarfile", "Image", "webbrowser"}
_READS = {"r", "rb", "rt", "br", "tr"}


def writes_in(tree: ast.AST) -> Iterator[tuple[str, int, str]]:
    """(function, line, call) of each call that writes by itself; function is "" at the top of the module."""
    yield from _visit(tree, "", frozenset())


def _visit(node: ast.AST, function: str, given: frozenset[str]) -> Iterator[tuple[str, int, str]]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        function = node.name
        given = given | _in_memory(node)
    if isinstance(node, ast.With):
        given = given | {name for item in node.items for name in _given_by(item)}
    if isinstance(node, ast.Call) and (said := _written_by(node, given)):
        yield function, node.lineno, said
    for child in ast.iter_child_nodes(node):
        yield from _visit(child, function, given)


def _given_by(item: ast.withitem) -> Iterator[str]:
    call = item.context_expr
    if not isinstance(call, ast.Call) or not isinstance(item.optional_vars, ast.Name):
        return
    # `GzipFile(fileobj=file)` over a file of the writer is as good as the file.
    if _name(call.func) in GIVES_FILES or any(key.arg == "fileobj" for key in call.keywords):
        yield item.optional_vars.id


def _in_memory(function: ast.AST) -> frozenset[str]:
    """Names of a function that hold a `BytesIO` or `StringIO`."""
    return frozenset(
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and _name(node.value.func) in ("BytesIO", "StringIO")
        for target in node.targets
        if isinstance(target, ast.Name)
    )


def _written_by(call: ast.Call, given: frozenset[str]) -> str:
    """What a call writes, as text; empty where it writes nothing, or to a file that it was given."""
    name, owner = _name(call.func), _owner(call.func)
    said = ast.unparse(call)[:90]
    if name == "open" or name == "os.open":
        return said if _opens_for_writing(call, owner) and not _uses(call, given) else ""
    if owner == "tempfile" or name in ("mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile"):
        return said
    if owner in _FORBIDDEN and name in _FORBIDDEN[owner]:
        return said
    if owner not in _FORBIDDEN and isinstance(call.func, ast.Attribute) and name in _PATH_METHODS:
        return said
    if isinstance(call.func, ast.Attribute) and name == "replace" and len(call.args) == 1 and not call.keywords:
        return said  # Path.replace; str.replace takes two
    if name in _WRITERS:
        reads = name in ("GzipFile", "BZ2File", "ZipFile", "LZMAFile", "TarFile") and not _opens_for_writing(
            call, owner
        )
        # `write_text(path, ...)` and `write_bytes` of the writer are functions, those of a Path are methods.
        ours = isinstance(call.func, ast.Name) and name in ("write_text", "write_bytes")
        return "" if reads or ours or _uses(call, given) else said
    return ""


def _opens_for_writing(call: ast.Call, owner: str) -> bool:
    if owner == "os":
        return any(flag in ast.unparse(call) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"))
    modes = [key.value for key in call.keywords if key.arg == "mode"]
    position = 0 if isinstance(call.func, ast.Attribute) and owner not in _MODE_SECOND else 1
    modes += call.args[position : position + 1]
    if not modes:
        return False
    if not isinstance(modes[0], ast.Constant):
        # Nobody can tell; but what comes first may be the name of a member of an archive.
        return position == 1 or any(key.arg == "mode" for key in call.keywords)
    mode = str(modes[0].value)
    if owner == "tarfile":
        return not mode.startswith("r")
    if not set(mode) <= set("rwxabt+U"):
        return False  # the name of a member of an archive
    return mode not in _READS


def _uses(call: ast.Call, given: frozenset[str]) -> bool:
    values = [*call.args, *(key.value for key in call.keywords)]
    return any(isinstance(node, ast.Name) and node.id in given for value in values for node in ast.walk(value))


def _name(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _owner(function: ast.expr) -> str:
    return function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""
