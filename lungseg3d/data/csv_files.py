"""A table as spreadsheets write it: separated by commas, semicolons or tabs, in UTF-8 or in Excel's UTF-16.

In: a CSV file. Out: the names of its columns and its rows. Knows no column.
"""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

_SEPARATORS = ",;\t"  # where the system's decimal sign is a comma, Excel writes semicolons and still calls it CSV


def read_csv(path: Path, strict: bool = True) -> tuple[list[str], list[dict[str, str]]]:
    """(names of the columns, rows by column).

    The separator is the one that the first line has most of: column names hold none. Blanks around values are left
    out; a value that a short row lacks is empty.

    Args:
        path: of the file.
        strict: refuse quotes that do not end, or in the middle of a value.

    Raises:
        csv.Error: not as `strict` asks.
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    first = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=strict)
    columns = [(name or "").strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    rows = []
    for row in reader:
        rows.append({name: (row.get(name) or "").strip() for name in columns})
    return columns, rows
