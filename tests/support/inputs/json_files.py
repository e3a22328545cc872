"""JSON and JSON lines."""

from __future__ import annotations

from support.inputs.case import Case

TWO = (("good film", "pos"), ("bad film", "neg"))

JSON_FILES = (
    Case(67, "huggingface/datasets#6891", "JSON lines named .json, as `to_json` writes them",
         "refused, naming JSONL; or the rows", "a.json",
         b'{"text": "good film", "label": "pos"}\n{"text": "bad film", "label": "neg"}\n', None, (r"JSONL",
         r"\.jsonl")),
    Case(68, "huggingface/datasets#651", "records by their ids, no array", "the rows; said", "a.json",
         b'{"id01": {"text": "good film", "label": "pos"}, "id02": {"text": "bad film", "label": "neg"},'
         b' "id03": {"text": "fine film", "label": "pos"}}', (*TWO, ("fine film", "pos")), (r"laid out",)),
    Case(69, "UKGovernmentBEIS/inspect_ai#2644", "the records under a key of its own", "the rows; said", "a.json",
         b'{"questions": [{"text": "good film", "label": "pos"}, {"text": "bad film", "label": "neg"}]}', TWO,
         (r"questions",)),
    Case(70, "IBM/unitxt#1188", "two arrays of records in one file", "refused, naming both", "a.json",
         b'{"dataset1": [{"text": "good film", "label": "pos"}], "dataset2": [{"text": "bad film", "label": "neg"}]}',
         None, (r"'dataset1', 'dataset2'",)),
    Case(71, "wardi/jsonlines#7", "an array under a key, one object a line", "the rows; said", "a.json",
         b'{"winningHands":[\n{"text": "good film", "label": "pos"},\n{"text": "bad film", "label": "neg"}\n]}\n', TWO,
         (r"winningHands",)),
    Case(72, "wardi/jsonlines#93", "arrays a line, the first one with the names", "refused, asking for objects",
         "a.jsonl",
         b'["text", "label"]\n["good film", "pos"]\n["bad film", "neg"]\n', None, (r"a\.jsonl:1\b", r"object")),
    Case(73, "baidubce/bce-qianfan-sdk#332", "a comma behind every object of JSON lines", "refused at the line",
         "a.jsonl",
         b'{"text": "good film", "label": "pos"},\n{"text": "bad film", "label": "neg"},\n', None,
         (r"a\.jsonl:1:38\b", r"','")),
    Case(74, "osmlab/name-suggestion-index#4085", "a comma behind the last element of an array", "the rows", "a.json",
         b'[\n{"text": "good film", "label": "pos"},\n{"text": "bad film", "label": "neg"},\n]\n', TWO),
    Case(75, "nlohmann/json#1787", "a comma behind the last value of an object",
         "refused at the place, naming the comma", "a.jsonl",
         b'{"text": "good film", "label": "pos",}\n{"text": "bad film", "label": "neg"}\n', None,
         (r"a\.jsonl:1:3[78]\b", r"comma")),
    Case(76, "jqlang/jq#1499", "a comment in JSON", "refused at the place, naming the comment", "a.json",
         b'[\n// my reviews\n{"text": "good film", "label": "pos"}\n]\n', None, (r"a\.json:2:1\b", r"comment")),
    Case(77, "jjgomera/iapws#42", "single quotes, as Python prints a dict", "refused at the place, naming the quotes",
         "a.jsonl", b"{'text': 'good film', 'label': 'pos'}\n{'text': 'bad film', 'label': 'neg'}\n", None,
         (r"a\.jsonl:1:2\b", r"single quot")),
    Case(78, "simonw/datasette#332", "NaN as a value of JSON", "there is no text and no label", "a.jsonl",
         b'{"text": "good film", "label": NaN}\n{"text": NaN, "label": "pos"}\n{"text": "fine", "label": "neg"}\n',
         (("good film", None), (None, "pos"), ("fine", "neg"))),
    Case(79, "open-source-parsers/jsoncpp#358", "a key stands twice in an object",
         "refused at the place, naming the key", "a.jsonl",
         b'{"text": "good film", "label": "pos"}\n{"text": "bad", "label": "neg", "text": "film"}\n', None,
         (r"a\.jsonl:2\b", r"'text' stands twice")),
    Case(80, "Modalities/modalities#395", "no line end after the last object", "all rows", "a.jsonl",
         b'{"text": "good film", "label": "pos"}\n{"text": "bad film", "label": "neg"}', TWO),
    Case(81, "hiyouga/LlamaFactory#3247", "some records name a key otherwise", "the rows; those lack a text", "a.json",
         '[{"text": "good film", "label": "pos"}, {"輸入": "bad film", "label": "neg"}]'.encode(),
         (("good film", "pos"), (None, "neg"))),
    Case(82, "hiyouga/LlamaFactory#3018", "JSON named .txt", "refused, naming the ending", "zhilv.txt",
         b'[\n  {"text": "good film", "label": "pos"}\n]\n', None, (r"zhilv\.txt", r"JSON", r"\.json")),
    Case(83, "explosion/prodigy-openai-recipes#54", "Prodigy: rows whose label the annotator rejected",
         "these rows have no label; said", "a.jsonl",
         b'{"text": "good film", "label": "sports", "answer": "accept"}\n'
         b'{"text": "bad film", "label": "sports", "answer": "reject"}\n'
         b'{"text": "the news", "label": "politics", "answer": "accept"}\n',
         (("good film", "sports"), ("bad film", None), ("the news", "politics")), (r"answer|reject",)),
)  # fmt: skip
