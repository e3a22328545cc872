"""Workbooks (.xlsx, .ods): one sheet with a header row; cells become the text that a CSV of them would hold."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.data.sources.archives import check_unpacked_size
from finetune30.data.sources.number_formats import apply_number_formats
from finetune30.data.sources.opendocument_numbers import apply_shown_numbers
from finetune30.data.sources.options import FileOptions
from finetune30.data.sources.table import ColumnChunks, SourceTable, drop_empty_columns, name_columns
from finetune30.errors import DataFileError
from finetune30.values import say_count

if TYPE_CHECKING:
    from python_calamine import CalamineWorkbook

Range = tuple[tuple[int, int], tuple[int, int]]
Cell = int | float | str | bool | datetime.time | datetime.date | datetime.datetime | datetime.timedelta


def load_workbook(path: Path, name: str, options: FileOptions) -> SourceTable:
    """Read the sheet that `options.sheet` names, or the only visible one with rows; a row's number is its line.

    Raises DataFileError for a damaged or encrypted file, an unknown sheet, several sheets, and rows that do not fit.
    """
    import python_calamine

    check_unpacked_size(path, name)
    try:
        with python_calamine.CalamineWorkbook.from_path(str(path)) as workbook:
            sheet = _choose(workbook, name, options.sheet)
            chosen = workbook.get_sheet_by_name(sheet)
            rows: list[list[Cell]] = chosen.to_python(skip_empty_area=False)
            merged = chosen.merged_cell_ranges or []
    except python_calamine.PasswordError as error:
        raise DataFileError(name, 0, 0, "the workbook asks for a password", "save it without one") from error
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        found = f"the workbook cannot be read ({' '.join(str(error).split())[:200]})"
        raise DataFileError(name, 0, 0, found, "save it again, or export the sheet as CSV (UTF-8)") from error
    apply = apply_number_formats if path.suffix.lower() == ".xlsx" else apply_shown_numbers
    shown, unread = apply(path, sheet, rows)
    filled = [
        (number, cells) for number, row in enumerate(rows, start=1) if any(cells := [_text(cell) for cell in row])
    ]
    if not filled:
        raise DataFileError(name, 1, 0, f"the sheet {sheet!r} is empty", "give it a header row and at least one row")
    header_line, header = filled[0]
    spread = _spread_merged(filled[1:], merged)
    chunks = ColumnChunks(name_columns(name, [cell or "" for cell in header], header_line))
    if len(filled) == 1:
        raise DataFileError(
            name, header_line + 1, 0, "there is a header but no row below it", "add rows below the header"
        )
    for number, cells in filled[1:]:
        chunks.append(cells, number)
    frame, notes = drop_empty_columns(name, chunks.finish(), header_line)
    notes += (*unread, *(column.describe(header[column.column] or "") for column in shown))
    if spread:
        notes += (f"merged cells: {say_count(spread, 'cells')} below others hold what is seen there",)
    return SourceTable(name, path.suffix.lower()[1:], frame, notes=(f"sheet {sheet!r}", *notes))


def _spread_merged(rows: list[tuple[int, list[str | None]]], merged: Sequence[Range]) -> int:
    """Write the text of each merged cell into the rows that it spans, in its first column; return how many were filled.

    Rows are numbered from 1, the ranges from 0. Only the first cell of a range holds something in the file.
    """
    by_number, count = dict(rows), 0
    for (first, column), (last, _) in merged:
        cells = by_number.get(first + 1, [])
        text = cells[column] if column < len(cells) else None  # a range may lie beyond what is used
        for number in range(first + 2, last + 2):
            if text is not None and number in by_number and by_number[number][column] is None:
                by_number[number][column] = text
                count += 1
    return count


def _choose(workbook: CalamineWorkbook, name: str, wanted: str | None) -> str:
    import python_calamine

    listed = ", ".join(map(repr, workbook.sheet_names[:20]))
    if wanted is not None:
        if wanted not in workbook.sheet_names:
            found = f"there is no sheet {wanted!r}; the sheets are {listed}"
            raise DataFileError(name, 0, 0, found, "set data.sheet to one of them")
        return wanted
    seen = [
        sheet.name
        for sheet in workbook.sheets_metadata
        if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
        and sheet.visible == python_calamine.SheetVisibleEnum.Visible
        and workbook.get_sheet_by_name(sheet.name).height
    ]
    if len(seen) == 1:
        return seen[0]
    if not seen:
        raise DataFileError(name, 0, 0, "no sheet of the workbook holds anything", "give one a header row and rows")
    found = f"several sheets hold something: {', '.join(map(repr, seen[:20]))}"
    raise DataFileError(name, 0, 0, found, "set data.sheet to the one to read")


def _text(cell: Cell) -> str | None:
    """Return a cell as text: whole numbers without a decimal point, dates as ISO 8601, truth values as true, false."""
    if cell == "":
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell)
