"""An expression of a bundle's configuration (`$...`), judged before anything evaluates it.

In: the text. Out: what is wrong with it, in words, or nothing. Judged is the very text that MONAI hands to `eval`, with
its references put in. Whatever is not known to be harmless is wrong. Evaluates nothing.
"""

from __future__ import annotations

import ast
import re

from lungseg3d.io.bundle.parts import ATTRIBUTES, FUNCTIONS, METHODS, PARENT_IDIOMS, PLACES

_MOST_CHARACTERS = 500
_LARGEST_NUMBER = 1_000_000
_REFERENCES = "__local_refs"
_REFERENCE = re.compile(r"@(?:\w*)(?:::\w*)*")  # as monai.bundle.ReferenceResolver finds them
_NODES = (
    *(ast.Expression, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.UnaryOp, ast.Not),
    *(ast.USub, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.Is, ast.IsNot, ast.Eq, ast.NotEq, ast.Lt, ast.LtE),
    *(ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.IfExp, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Subscript),
    *(ast.Slice, ast.Attribute, ast.Name, ast.Load, ast.Store, ast.Call, ast.keyword, ast.Lambda, ast.arguments),
    *(ast.arg, ast.ListComp, ast.comprehension),
)


def complaint_about_expression(text: str) -> str:
    """What is wrong with `$...`; "" when nothing is."""
    if text in PARENT_IDIOMS:
        return ""
    if len(text) > _MOST_CHARACTERS:
        return f"an expression of {len(text)} characters"
    try:
        tree = ast.parse(_with_references(text[1:]), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "no single expression"
    bound = {argument.arg for node in ast.walk(tree) if isinstance(node, ast.Lambda) for argument in node.args.args}
    bound |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    if clash := bound & {_REFERENCES, *(name.split(".")[0] for name in FUNCTIONS)}:
        return f"it gives {clash.pop()} another meaning"
    placed = {id(text) for node in ast.walk(tree) for text in _behind_a_place(node)}
    # `torch` and `torch.cuda` in `torch.cuda.is_available` are judged with the whole name.
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        name = "" if id(node) in inner else _dotted(node, bound)
        if name and name not in FUNCTIONS:
            return f"the name {name}"
        if said := _complaint(node, bound, placed):
            return said
    return ""


def _with_references(code: str) -> str:
    """As `ReferenceResolver.update_refs_pattern` does it: longest first, also inside of quotes."""
    code = code.replace("#", "::")
    for reference in sorted(_REFERENCE.findall(code), key=len, reverse=True):
        code = code.replace(reference, f"{_REFERENCES}['{reference[1:]}']")
    return code


def _complaint(node: ast.AST, bound: set[str], placed: set[int]) -> str:
    if not isinstance(node, _NODES):
        return f"{type(node).__name__} in an expression"
    if isinstance(node, ast.Call) and not isinstance(node.func, (ast.Name, ast.Attribute)):
        return "a call of what another call gave"
    if isinstance(node, ast.Call) and (any(key.arg is None for key in node.keywords)):
        return "arguments that are not named"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not _dotted(node.func, bound):
        return "" if node.func.attr in METHODS else f"the call of a method {node.func.attr}"
    if isinstance(node, ast.Attribute) and not _dotted(node, bound):
        return "" if node.attr in ATTRIBUTES | METHODS else f"the attribute {node.attr}"
    if isinstance(node, ast.arguments) and (node.defaults or node.kwonlyargs or node.vararg or node.kwarg):
        return "a lambda with other than plain arguments"
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mod, ast.Mult)):
        is_text = [isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (node.left, node.right)]
        return "text that is formatted or repeated" if any(is_text) else ""
    if isinstance(node, ast.Constant):
        return _complaint_about_constant(node, placed)
    return ""


def _complaint_about_constant(node: ast.Constant, placed: set[int]) -> str:
    value = node.value
    if isinstance(value, str):
        if said := complaint_about_path(value):
            return "" if said == "an absolute path" and id(node) in placed else said
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "" if abs(value) <= _LARGEST_NUMBER else f"the number {value}"
    return "" if value is None or isinstance(value, bool) else f"a constant of type {type(value).__name__}"


def complaint_about_path(text: str) -> str:
    """What is wrong with a text that may be a path or an address; "" when nothing is."""
    if re.match(r"[A-Za-z][\w+.-]*:/", text):
        return "an internet address or another scheme"
    parts = re.split(r"[\\/]", text)
    if ".." in parts:
        return "a path that leads upwards"
    if parts[-1] == ".":
        return "a path that ends with a dot, which leads upwards with another one behind it"
    if re.match(r"[\\/~]|[A-Za-z]:[\\/]", text):
        return "an absolute path"
    return ""


def _behind_a_place(node: ast.AST) -> list[ast.AST]:
    """The text of `@bundle_root + '/models/model.pt'`, which continues a place and begins none."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add) or not isinstance(node.right, ast.Constant):
        return []
    left = node.left
    while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add):
        left = left.left
    return [node.right] if ast.unparse(left) in {f"{_REFERENCES}['{place}']" for place in PLACES} else []


def _dotted(node: ast.AST, bound: set[str]) -> str:
    """A name, or `torch.cuda.is_available`, as text; "" for what begins with a reference, a bound name or a value."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in bound | {_REFERENCES}:
        return ".".join([node.id, *reversed(parts)])
    return ""
