"""One table of torch against the light engine, to which several benchmarks add rows."""

from collections.abc import Sequence
from dataclasses import dataclass

HEADER = ("| | torch | light | torch / light | |", "|---|---|---|---|---|")


@dataclass(frozen=True)
class Compared:
    """One quantity with both engines.

    Args:
        what: what was measured.
        torch, light: the quantity; None where there is none, as in the browser with torch.
        unit: such as `s`.
        note: anything else.
    """

    what: str
    torch: float | None
    light: float | None
    unit: str
    note: str = ""


def markdown(rows: Sequence[Compared]) -> str:
    """The rows as a table."""
    return "\n".join([*HEADER, *(_line(row) for row in rows)])


def joined(tables: Sequence[str]) -> str:
    """Tables of `markdown` as one."""
    lines = [line for table in tables for line in table.splitlines() if line not in HEADER]
    return "\n".join([*HEADER, *lines])


def _line(row: Compared) -> str:
    ratio = f"{row.torch / row.light:.1f}" if row.torch and row.light else ""
    cells = (row.what, _cell(row.torch, row.unit), _cell(row.light, row.unit), ratio, row.note)
    return f"| {' | '.join(cells)} |"


def _cell(number: float | None, unit: str) -> str:
    if number is None:
        return "–"
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
