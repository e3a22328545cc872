"""Text files that are not UTF-8: what is recognised, what is refused, and that a remedy leads to the right texts."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from finetune30.config.data import DataConfig
from finetune30.data.questions import Asked, load_questions
from finetune30.data.sources.encodings import detect_encoding, wide_encoding
from finetune30.data.sources.files import load_file
from finetune30.data.sources.options import FileOptions
from finetune30.data.sources.resolve import load_sources
from finetune30.data.starter import starter_folder
from finetune30.errors import DataError, DataFileError

TEXTS = {
    "cp950": "房間又小又髒，服務人員態度很差，完全不推薦大家來住",
    "gb18030": "房间又小又脏，服务人员态度很差，完全不推荐大家来住这里",
    "cp932": "部屋は狭くて汚いです。スタッフの対応もとても悪かったので二度と行きません",
    "euc_jp": "部屋は狭くて汚いです。スタッフの対応もとても悪かったので二度と行きません",
    "cp949": "방이 작고 더러웠어요. 직원도 불친절해서 다시는 가지 않을 것 같습니다 정말 별로예요",
    "cp1251": "Комната была маленькой и грязной, персонал грубый, никому не советую",
    "koi8_r": "Комната была маленькой и грязной, персонал грубый, никому не советую",
    "cp1252": "La chambre était très sale, le café même pas servi à côté, déçu de l’accueil réservé, répété, forêt, "
    "été, façade, là où les élèves étaient fâchés",
    "cp1250": "Pokój był mały i brudny, obsługa niemiła, wyżywienie okropne, więcej tu nie wrócę, łóżko źle,"
    " żółw, ścięgno, źdźbło, gęś, mąż",
    "iso8859_2": "Pokoj byl malý a špinavý, příště už nepřijdeme, žádná snídaně, hrozné služby,"
    " čeština, děti, ještě, třešně",
    "cp1254": "Oda küçük ve kirliydi, çalışanlar kaba, kahvaltı kötü, bir daha gelmeyiz, ışık, şeker, ağaç,"
    " öğretmen, güneş, çiçek, gülüş",
    "cp1253": "Το δωμάτιο ήταν μικρό και βρώμικο, δεν το συνιστώ σε κανέναν",
    "cp1255": "החדר היה קטן ומלוכלך, לא ממליץ לאף אחד בכלל",
    "cp1256": "كانت الغرفة صغيرة وقذرة ولا أنصح أحدا بها أبدا",
    "cp874": "ห้องเล็กและสกปรกมาก ไม่แนะนำให้ใครมาพัก",
    "mac_roman": "I don’t like this, it’s bad, we’re sad, don’t go, isn’t it, can’t, won’t, it’s, that’s, she’s, he’s, "
    "wasn’t, aren’t, we’ll, you’ll, I’ll, they’ll, it’d, we’d, I’d, you’d",
}
#: Texts in encodings that decode in one of the above too, and mean something else there.
OTHERS = {
    "cp850": "café très née été élève répété déjà même côté après père mère frère crème thé clé blé pré épée",
    "cp852": "Film był bardzo dobry, a aktorzy świetni, łóżko złe, więcej tu nie wrócę, dzięki za gościnę, źle",
    "cp866": "Комната была маленькой и грязной, персонал грубый, никому не советую",
    "cp857": "Oda küçük ve kirliydi, çalışanlar kaba, bir daha gelmeyiz, ışık, şeker, ağaç, öğretmen, güneş",
    "cp737": "Το δωμάτιο ήταν μικρό και βρώμικο, δεν το συνιστώ σε κανέναν",
    "iso8859_6": "كان الفيلم جيدا جدا والممثلون رائعون لا أنصح به أحدا",
    "mac_cyrillic": "Комната была маленькой и грязной, персонал грубый, никому не советую её",
}


def write(folder: Path, codec: str, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(f'text,label\n"{text}",bad\nplain,good\n'.encode(codec))
    return path


@pytest.mark.parametrize("codec", list(TEXTS))
def test_encoding_is_told_from_the_characters_and_said(codec: str, tmp_path: Path) -> None:
    table = load_file(write(tmp_path, codec, TEXTS[codec]))
    assert table.frame["text"].to_list() == [TEXTS[codec], "plain"]
    [note] = table.notes
    assert note.startswith(f"read as {codec} (")
    assert next(character for character in TEXTS[codec] if character > "\x7f") in note
    assert table.row_ids().to_list() == ["a.csv:2", "a.csv:3"]


def test_word_that_stands_again_makes_no_letter_frequent(tmp_path: Path) -> None:
    path = write(tmp_path, "cp1251", "Фильм Фильм Фильм Фильм был")  # these are frequent Greek letters otherwise
    with pytest.raises(DataFileError, match=r"decoded as .*cp1251: '.*Фильм"):
        load_file(path)
    with pytest.raises(DataFileError, match=r"cp1256: .*أحدا،"):  # with its comma
        load_file(write(tmp_path, "cp1256", "أحدا،"))
    with pytest.raises(DataFileError, match=r"mac_roman: .*refeição"):  # two such letters side by side
        load_file(write(tmp_path, "mac_roman", "refeição"))
    no_words = (
        ("cp949", "¡ ¡ ¡ ¡¡ " * 3),
        ("cp949", "¡ ¡ ¤¤¤ ¤ ¤ ¤¤¤ ¡ ¡"),
        ("cp949", "¡ ¡ ª ¡¡¡ª¹¹τ ¡¡¡ª¹¹τ ª ¡ ¡"),
        ("cp1253", "¤Π ¤Π £££¤µΉΡ ¤ ¤ £££¤µΉΡ ¤Π ¤Π"),
        ("cp950", "¢ ¢ ¢¢¢¢ ¢ ¢ ¢¢¢¢ ¢ ¢"),
        ("cp1252", "¸Ë ¢å ¢É ¢¢ ¡¡ ¡¡ ¢¢ ¢É ¢å ¸Ë"),
        ("cp1256", "¢ ¢¢¢ ¢¢¢ ¢¢ƒŒ ¢¢¢ ¢ ¢¢ ¢¢¢¢"),
    )
    for codec, marks in no_words:
        with pytest.raises(DataFileError, match="is not UTF-8"):
            load_file(write(tmp_path, codec, marks))


def test_wide_text_without_a_mark_is_told_from_a_short_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(('{"text": "' + "хорошо" * 20 + '", "label": "a"}\n').encode("utf-16-le"))
    assert load_file(path).frame["text"].to_list() == ["хорошо" * 20]


@pytest.mark.parametrize("codec", list(OTHERS))
def test_encoding_that_is_not_known_is_refused_and_never_taken_for_another(codec: str, tmp_path: Path) -> None:
    path = write(tmp_path, codec, OTHERS[codec])
    with pytest.raises(DataFileError, match="is not UTF-8") as caught:
        load_file(path)
    assert "set data.encoding" in caught.value.remedy
    table = load_file(path, options=FileOptions(encoding=codec))
    assert table.frame["text"][0] == OTHERS[codec]


@pytest.mark.parametrize("codec", ["cp950", "gb18030"])
def test_every_few_rows_of_chinese_reviews_are_enough(codec: str, tmp_path: Path) -> None:
    with (starter_folder("starter-zh") / "train.csv").open(encoding="utf-8") as handle:
        texts = [row["text"] for row in csv.DictReader(handle)]
    for start in range(0, len(texts), 5):
        rows = "，".join(texts[start : start + 5])
        assert detect_encoding(write(tmp_path, codec, rows), "a.csv").codec == codec


def test_few_characters_are_no_evidence_and_the_remedy_works(tmp_path: Path) -> None:
    path = tmp_path / "menu.csv"
    path.write_bytes("text,label\nabc,1\ncafé,0\n".encode("cp1252"))
    with pytest.raises(DataFileError) as caught:
        load_file(path)
    assert caught.value.message.startswith("menu.csv:3:4: byte 20 (0xe9) is not UTF-8; decoded as cp1252: 'café,0'")
    named = re.search(r"set data\.encoding to (\S+)", caught.value.remedy)
    assert named
    table = load_file(path, options=FileOptions(encoding=named[1]))
    assert table.frame["text"].to_list() == ["abc", "café"]


def test_big5_is_never_called_western(tmp_path: Path) -> None:
    with pytest.raises(DataFileError) as caught:
        load_file(write(tmp_path, "big5", "很髒很吵"))
    assert "decoded as cp950: " in caught.value.message
    assert "'\"很髒很吵\",bad'" in caught.value.message
    assert "cp1252" not in caught.value.message + caught.value.remedy


def test_given_encoding_is_strict_and_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\n很好,1\n".encode("big5") + b"ab\xff,0\n")
    with pytest.raises(DataFileError, match="does not decode as cp950") as caught:
        load_file(path, options=FileOptions(encoding="big5"))
    assert caught.value.message.startswith("a.csv:3:3: byte 20 (0xff)")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_read_with_and_without_mark(name: str, codec: str, tmp_path: Path) -> None:
    contents = {
        "a.csv": "text,label\n很好,1\n",
        "a.tsv": "text\tlabel\n很好\t1\n",
        "a.jsonl": '{"text": "很好", "label": "1"}\n',
        "a.json": '[{"text": "很好", "label": "1"}]',
    }
    (tmp_path / name).write_bytes(contents[name].encode(codec))
    table = load_file(tmp_path / name)
    assert table.frame.select("text", "label").rows() == [("很好", "1")]
    assert "UTF-16" in table.notes[0]
    given = load_file(tmp_path / name, options=FileOptions(encoding="utf-16"))
    assert given.frame.select("text", "label").rows() == [("很好", "1")]


def test_utf8_and_short_files_are_not_wide(tmp_path: Path) -> None:
    for content in (b"", b"a", b"ab", b"text,label\n", "很好".encode()):
        (tmp_path / "a.csv").write_bytes(content)
        assert wide_encoding(tmp_path / "a.csv") is None


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_in_big5_is_read_by_the_same_rules(name: str, tmp_path: Path) -> None:
    record = f'{{"text": "{TEXTS["cp950"]}", "label": "bad"}}'
    (tmp_path / name).write_bytes((f"[{record}]" if name == "a.json" else record).encode("cp950"))
    table = load_file(tmp_path / name)
    assert table.frame["text"].to_list() == [TEXTS["cp950"]]
    assert table.notes[0].startswith("read as cp950")


def test_configuration_names_the_encoding_of_local_files_only(tmp_path: Path) -> None:
    path = write(tmp_path, "cp1254", TEXTS["cp1254"])
    loaded = load_sources(DataConfig(dataset_name=str(path), encoding="cp1254"), lambda _: None)
    assert loaded.train[0].frame["text"][0] == TEXTS["cp1254"]
    assert loaded.train[0].notes == ("read as cp1254, as named",)
    with pytest.raises(DataError, match=r"data\.encoding is for local files"):
        load_sources(DataConfig(dataset_name="starter", encoding="big5"), lambda _: None)


def test_configuration_refuses_an_encoding_that_python_does_not_know() -> None:
    with pytest.raises(ValueError, match="knows no encoding"):
        DataConfig(encoding="big55")
    with pytest.raises(ValueError, match="knows no encoding"):
        DataConfig(encoding="base64")


def test_questions_in_a_text_file_are_decoded_and_split_at_line_ends_only(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_bytes(f"{TEXTS['cp950']}\r\n很吵\n".encode("big5"))
    said: list[str] = []
    found = load_questions(path, Asked((), None), {}, FileOptions(), said.append)
    assert [(question.row_id, question.text) for question in found] == [("line:1", TEXTS["cp950"]), ("line:2", "很吵")]
    assert said[0].startswith("questions.txt: read as cp950")
    path.write_text("one\u2028still one\x0c\ntwo", encoding="utf-8")
    assert [question.text for question in load_questions(path, Asked((), None), {}, FileOptions())] == [
        "one\u2028still one",
        "two",
    ]
    path.write_bytes("café\n".encode("cp1252"))
    [given] = load_questions(path, Asked((), None), {}, FileOptions(encoding="latin-1"))
    assert given.text == "café"
