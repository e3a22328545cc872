"""Text files by their encoding."""

from __future__ import annotations

from support.inputs.case import Case, Row

POLISH: tuple[Row, ...] = (
    ("Bardzo dobry film, wciągająca opowieść i świetne zdjęcia", "tak"),
    ("Książka była nudna, a zakończenie zupełnie bez sensu", "nie"),
    ("Zażółć gęślą jaźń, powiedział i wyszedł", "tak"),
    ("Nie polecam, źle się to ogląda", "nie"),
)
CZECH: tuple[Row, ...] = (
    ("Velmi dobrý film, příběh mě zaujal hned od začátku", "ano"),
    ("Kniha byla nudná a závěr naprosto bez nápadu", "ne"),
    ("Šťastný konec, kterému člověk rád uvěří", "ano"),
    ("Žádná z postav není zajímavá, škoda času", "ne"),
)
ARABIC: tuple[Row, ...] = (
    ("فيلم جيد جدا والقصة مشوقة من البداية إلى النهاية", "نعم"),
    ("كان الكتاب مملا ولا أنصح أحدا بقراءته", "لا"),
)
PORTUGUESE: tuple[Row, ...] = (
    ("A opinião é clara: não há razão para a direção mudar", "sim"),
    ("O almeirão estava bom, o maço também não é ruim", "sim"),
    ("Péssima decisão, a refeição não chegou até às três", "não"),
)


def csv(rows: tuple[Row, ...], separator: str = ",", end: str = "\n") -> str:
    """Return rows as a CSV whose texts are quoted."""
    lines = [separator.join(("text", "label")), *(f'"{text}"{separator}{label}' for text, label in rows)]
    return end.join(lines) + end


ENCODED = (
    Case(55, "PyYoshi/cChardet#101", "Polish in Windows-1250", "the rows; the encoding is said", "a.csv",
         csv(POLISH).encode("cp1250"), POLISH, (r"cp1250",)),
    Case(56, "jawah/charset_normalizer#571", "Czech in ISO 8859-2", "the rows; the encoding is said", "a.csv",
         csv(CZECH).encode("iso8859_2"), CZECH, (r"iso8859_2",)),
    Case(57, "FlatFilers/csvjson-app#77", "Arabic in Windows-1256", "the rows; the encoding is said", "a.csv",
         csv(ARABIC).encode("cp1256"), ARABIC, (r"cp1256",)),
    Case(58, "jmhodges/rchardet#27", "Portuguese from Excel for Mac: MacRoman, semicolons, lines that end in CR",
         "the rows; the encoding is said", "a.csv",
         csv(PORTUGUESE, ";", "\r").encode("mac_roman"), PORTUGUESE, (r"mac_roman",)),
    Case(59, "jawah/charset_normalizer#624", "three letters outside of ASCII, in the header alone, in Windows-1252",
         "refused, with cp1252 and the header as it reads then", "a.csv",
         "Kinosäle;label\nviele;pos\nwenige;neg\n".encode("cp1252"), None, (r"a\.csv:1:6\b", r"cp1252: 'Kinosäle")),
    Case(60, "microsoft/vscode-data-wrangler#42", "one ® in Windows-1252", "the rows, once the encoding is named",
         "a.csv",
         "text,label\nGéo® service,pos\nbad,neg\n".encode("cp1252"), (("Géo® service", "pos"), ("bad", "neg")),
         (r"cp1252",), {"encoding": "cp1252"}),
    Case(61, "crewAIInc/crewAI#7467", "a byte order mark before a quoted column name that holds the separator",
         "the columns by their names", "a.csv",
         '\ufeff"text, whole",label\ngood film,pos\nbad film,neg\n'.encode(),
         (("good film", "pos"), ("bad film", "neg"))),
    Case(62, "Meaningful-Data/vtlengine#654", "a byte order mark before a JSON array", "the rows", "a.json",
         '\ufeff[{"text": "good film", "label": "pos"}, {"text": "bad film", "label": "neg"}]'.encode(),
         (("good film", "pos"), ("bad film", "neg"))),
    Case(63, "pandas-dev/pandas#20454", "a file name with a letter outside of ASCII", "the rows", "görüş.csv",
         "text,label\ngüzel bir iş,iyi\nkötü bir iş,kötü\n".encode(),
         (("güzel bir iş", "iyi"), ("kötü bir iş", "kötü"))),
    Case(64, "hegeldev/hegel-core#25", "U+0085, U+2028 and U+2029 inside of JSON lines", "the texts with them",
         "a.jsonl",
         '{"text": "good\x85film", "label": "a"}\n{"text": "bad\u2028film", "label": "b"}\n'
         '{"text": "fine\u2029film", "label": "a"}\n'.encode(),
         (("good\x85film", "a"), ("bad\u2028film", "b"), ("fine\u2029film", "a"))),
    Case(65, "steipete/birdclaw#61", "U+2028 in a CSV of posts", "the text with it", "a.csv",
         "text,label\ngood (free)\u2028http://a.example,pos\nbad,neg\n".encode(),
         (("good (free)\u2028http://a.example", "pos"), ("bad", "neg"))),
    Case(66, "forcedotcom/dataloader#914", "HTML entities in texts", "the texts as they stand", "a.csv",
         b'text,label\n"A &amp; B &#127752;",pos\nbad film,neg\n',
         (("A &amp; B &#127752;", "pos"), ("bad film", "neg"))),
)  # fmt: skip
