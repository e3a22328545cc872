"""Workbooks down to their XML, for what the plain writer of `support.workbooks` does not write."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from support.workbooks import write_ods, write_xlsx

#: A style for whole dates (14) and one that shows seven digits, after the plain one.
STYLES = (
    '<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    '<numFmts count="1"><numFmt numFmtId="164" formatCode="0000000"/></numFmts>'
    '<fonts count="1"><font/></fonts><fills count="1"><fill/></fills><borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs>'
    '<cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/></cellXfs></styleSheet>'
)
_STYLES_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"
_STYLES_LINK = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles"


def text(place: str, content: str) -> str:
    """Return a cell of text as XML; `content` is XML already."""
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{content}</t></is></c>'


def xlsx(rows: str, after: str = "", workbook: Mapping[str, str] | None = None) -> Callable[[Path], None]:
    """Return what writes a workbook of one sheet: the XML of its rows, what follows them, changes of the workbook."""

    def write(path: Path) -> None:
        write_xlsx(path, {"Sheet1": []})
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name).decode() for name in archive.namelist()}
        sheet = "xl/worksheets/sheet1.xml"
        parts[sheet] = parts[sheet].replace("<sheetData></sheetData>", f"<sheetData>{rows}</sheetData>{after}")
        for old, new in (workbook or {}).items():
            parts["xl/workbook.xml"] = parts["xl/workbook.xml"].replace(old, new)
        override = f'<Override PartName="/xl/styles.xml" ContentType="{_STYLES_TYPE}"/></Types>'
        parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace("</Types>", override)
        link = f'<Relationship Id="rId9" Type="{_STYLES_LINK}" Target="styles.xml"/></Relationships>'
        links = "xl/_rels/workbook.xml.rels"
        parts[links] = parts[links].replace("</Relationships>", link)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**parts, "xl/styles.xml": STYLES}.items():
                archive.writestr(name, content)

    return write


def ods(rows: str) -> Callable[[Path], None]:
    """Return what writes an OpenDocument sheet from the XML of its rows."""

    def write(path: Path) -> None:
        write_ods(path, {"Sheet1": []})
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name).decode() for name in archive.namelist()}
        parts["content.xml"] = parts["content.xml"].replace("</table:table>", f"{rows}</table:table>")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(name, content)

    return write


def ods_row(*cells: str, repeated: int = 1) -> str:
    """Return a row of texts as XML."""
    inside = "".join(
        f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>' for cell in cells
    )
    return f'<table:table-row table:number-rows-repeated="{repeated}">{inside}</table:table-row>'
