"""Files of every form, and ways to damage them at random, the same for the same seed and number."""

from __future__ import annotations

import random
from pathlib import Path

from support.inputs import CASES
from support.natural_texts import NATURAL
from support.table_forms import BINARY_FORMS, TEXT_FORMS, pack

#: Bytes that mean something to some reader.
_TELLING = (
    b'"', b"'", b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\0", b"\\", b"{", b"}", b"[", b"]", b":",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"sep=;\n", b"#", b"\x80", b"\xff",
    b"\xc3", b"\xed\xa0\xbd", b"\\ud83d", b"NaN", b"null", b"1e999", b"-", b"0" * 40, b'="', b"__line__",
    b"text,label\n", b"</row>", b"<mergeCell/>",
)  # fmt: skip
#: Rows that a corpus file holds: enough to be split, few enough to be read a hundred thousand times.
_ROWS = 12


def build_corpus(folder: Path) -> list[Path]:
    """Write the files that are damaged, each in a folder of its own: every form, encoding and input that is known."""
    folder.mkdir(exist_ok=True)
    corpus = [case.write(_new(folder)) for case in CASES if case.number != 95]  # a million rows that are none
    sentences = [sentence for _, known in NATURAL.values() for sentence in known]
    rows = [(sentence, f"l{number % 3}") for number, sentence in enumerate(sentences[:_ROWS])]
    for name, text in TEXT_FORMS.values():
        path = _new(folder) / name
        path.write_bytes(text(rows).encode())
        corpus += [path, pack(path, "gz"), pack(path, "zip")]
    for name, write in BINARY_FORMS.values():
        path = _new(folder) / name
        write(path, rows)
        corpus.append(path)
    for codecs, known in NATURAL.values():
        for codec in (*codecs, "utf-16", "utf-16-le"):
            path = _new(folder) / "a.csv"
            path.write_bytes(TEXT_FORMS["comma"][1]([(sentence, "a") for sentence in known]).encode(codec))
            corpus.append(path)
    return corpus


def damage(corpus: list[Path], seed: int, number: int, folder: Path) -> Path:
    """Write file `number` of a seed: one of the corpus, changed one to three times."""
    chosen = random.Random(f"{seed} {number}")
    original = corpus[number % len(corpus)]
    content = bytearray(original.read_bytes())
    for _ in range(chosen.choice((1, 1, 1, 1, 2, 3))):
        _change(content, chosen)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / original.name
    path.write_bytes(content)
    return path


def _change(content: bytearray, chosen: random.Random) -> None:
    where = chosen.randrange(len(content) + 1)
    length = min(len(content) - where, chosen.choice((1, 1, 1, 2, 8, 64)))
    match chosen.randrange(9):
        case 0 if content:  # a bit
            content[min(where, len(content) - 1)] ^= 1 << chosen.randrange(8)
        case 1:  # other bytes
            content[where : where + length] = chosen.randbytes(length)
        case 2:  # the end is missing
            del content[where:]
        case 3:  # a piece is missing
            del content[where : where + length]
        case 4:  # something more
            content[where:where] = chosen.choice(_TELLING)
        case 5:  # something else
            content[where : where + length] = chosen.choice(_TELLING)
        case 6:  # two pieces in the place of each other
            other = chosen.randrange(len(content) + 1)
            low, high = sorted((where, other))
            content[low:] = content[high:] + content[low:high]
        case 7:  # a line twice
            lines = content.splitlines(keepends=True)
            if lines:
                line = chosen.choice(lines)
                position = content.index(line)
                content[position:position] = line
        case _:  # a piece many times
            content[where:where] = content[where : where + length] * chosen.choice((2, 8, 64))


def _new(folder: Path) -> Path:
    made = folder / str(sum(1 for _ in folder.iterdir()))
    made.mkdir()
    return made
