"""What is wrong with a file is said in Chinese, with its place and its remedy."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from finetune30.data.sources.files import load_file
from finetune30.data.sources.options import FileOptions
from finetune30.errors import DataFileError
from finetune30.ui.messages import translate_message

QUOTED = 'text,label\ngood,1\n"the room was bad,0\nfine,1\nrude staff",0\nbad,0\n'


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "text,label\n很髒,0\n".encode("big5"), FileOptions()),
        ("a.csv", "text,label\ncafé,0\n".encode("latin-1"), FileOptions()),
        ("a.csv", b"text,label\n\xff\xff,0\n", FileOptions(encoding="big5")),
        ("a.csv", ("a," * 2_000).encode(), FileOptions()),
        ("a.csv", b"text,label,\nb,c,d\n", FileOptions()),
        ("a.csv", b"text,label\nb,c,d\n", FileOptions()),
        ("a.csv", b"text,label\nb\n", FileOptions()),
        ("a.csv", b'text,label\nb,"c\n', FileOptions()),
        ("a.csv", b'text,label\nc:\\d,1\n"b \\"c\\" d",1\n', FileOptions()),
        ("a.csv", QUOTED.encode(), FileOptions()),
        ("a.csv.gz", gzip.compress(b"text,label\na,1\n", mtime=0)[:-9], FileOptions()),
        ("a.gz", gzip.compress(b"text,label\na,1\n", mtime=0), FileOptions()),
        ("a.zip", b"PK\x05\x06" + bytes(18), FileOptions()),
        ("a.xlsx", b"PK", FileOptions()),
        ("a.json", b'{"text": {"a": 1}, "label": {"b": 2}}', FileOptions()),
        ("a.json", b"[" * 100_000, FileOptions()),
        ("a.jsonl", b'{"text": ' + b"9" * 5_000 + b"}", FileOptions()),
        ("a.jsonl", b'{"text": 1} {"text": 2}', FileOptions()),
        ("a.jsonl", b'{"text": 1 2}', FileOptions()),
    ],
)
def test_fault_of_a_file_is_whole_in_chinese(name: str, content: bytes, options: FileOptions, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataFileError) as caught:
        load_file(tmp_path / name, options=options)
    for said in (caught.value.message, caught.value.remedy):
        assert translate_message("zh", said) is not None, said
