"""A table, as text for a terminal or as Markdown for the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Table:
    """Rows of words; the first column is for names."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def text(self) -> str:
        widths = [
            max(len(row[column]) for row in [self.header, *self.rows])
            for column in range(len(self.header))
        ]
        lines = [self.title, ""]
        for row in [self.header, *self.rows]:
            cells = [
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def markdown(self) -> str:
        rule = ["---", *["--:"] * (len(self.header) - 1)]
        lines = [f"### {self.title}", ""]
        lines += [f"| {' | '.join(row)} |" for row in [self.header, rule, *self.rows]]
        return "\n".join(lines)
