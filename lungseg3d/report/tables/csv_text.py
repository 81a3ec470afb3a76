"""CSV as the program writes it: one header, lines ended by a newline alone.

In: rows by the name of their column. Out: text, the same for the same rows. Writes no file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A header and one line per row.

    Args:
        rows: cells by column; None and a cell that is missing are empty. Numbers stand as `str` gives them, so whoever
            wants fixed digits passes text.
        columns: names, each once, in order.

    Raises:
        ValueError: a row has a cell of no column.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
