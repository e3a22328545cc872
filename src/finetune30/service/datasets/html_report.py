"""The analysis as one self-contained page: no scripts, no network, plots as inline SVG; in two languages."""

from __future__ import annotations

from html import escape
from typing import Any, Literal

from finetune30.data.analysis.drift import CHI_SQUARED, KOLMOGOROV_SMIRNOV

Language = Literal["en", "zh-TW"]
LANGUAGES: tuple[Language, ...] = ("en", "zh-TW")

_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Data report: {name}", "資料報告：{name}"),
    "train": ("Training rows", "訓練資料"),
    "evaluation": ("Evaluation rows", "評估資料"),
    "total_samples": ("Rows", "資料筆數"),
    "imbalance": ("Imbalance ratio (largest to smallest class)", "類別不平衡比（最大類別：最小類別）"),
    "balanced": ("Balanced (ratio at most 3)", "是否平衡（比值不超過 3）"),
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    "labels": ("Labels", "標籤分布"),
    "values": ("Label values", "標籤數值分布"),
    "characters": ("Length in characters", "字元長度分布"),
    "words": ("Length in words (a Han character is one)", "詞數分布（每個漢字算一個）"),
    "tokens": ("Length in tokens", "token 長度分布"),
    "mean": ("mean", "平均"),
    "min": ("least", "最小"),
    "max": ("most", "最大"),
    "percentile": ("percentile", "百分位"),
    "suggested": ("Suggested max_length (truncates at most 1 %)", "建議的 max_length（最多截斷 1%）"),
    "vocabulary": ("Vocabulary", "詞彙"),
    "total_words": ("Words", "總詞數"),
    "distinct_words": ("Different words", "相異詞數"),
    "words_seen_once": ("Seen once", "只出現一次"),
    "type_token_ratio": ("Different words per word", "相異詞比例"),
    "most_frequent": ("Most frequent words", "最常見的詞"),
    "duplicates": ("Duplicates", "重複"),
    "distinct_texts": ("Different texts", "相異文字數"),
    "repeated_rows": ("Rows that repeat a text", "與前面文字重複的筆數"),
    "same_but_for_case_and_punctuation": ("Texts that differ only in case or punctuation", "僅大小寫或標點不同的文字"),
    "examples": ("Examples", "範例"),
    "drift": ("Compared with {name}", "與 {name} 的比較"),
    CHI_SQUARED: (CHI_SQUARED, "Pearson 卡方同質性檢定（Pearson 1900），效果量：Cramér's V（Cramér 1946，第 282 頁）"),
    KOLMOGOROV_SMIRNOV: (KOLMOGOROV_SMIRNOV, "Kolmogorov-Smirnov 雙樣本檢定（Smirnov 1939），效果量：統計量 D 本身"),
    "differs": ("differs", "有差異"),
    "alike": ("no difference that matters", "無重要差異"),
    "statistic": ("statistic", "統計量"),
    "lengths": ("Lengths", "長度"),
    "rows_axis": ("rows", "筆數"),
}
_STYLE = """
:root{color-scheme:light dark;--ink:#1d2733;--soft:#5b6b7c;--bar:#2f6f9f;--line:#d5dde5;--back:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9fb0c0;--bar:#6db3e0;--line:#3a4753;--back:#151b21}}
body{font:16px/1.5 system-ui,"Noto Sans TC",sans-serif;color:var(--ink);background:var(--back);max-width:60rem;
margin:2rem auto;padding:0 1rem}
h1,h2,h3{line-height:1.2}h2{border-top:1px solid var(--line);padding-top:1.2rem;margin-top:2rem}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.25rem .8rem .25rem 0;text-align:left;
border-bottom:1px solid var(--line);vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}
svg{max-width:100%;height:auto}svg text{fill:var(--soft);font-size:11px}svg rect{fill:var(--bar)}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1rem}small{color:var(--soft)}
"""
_LABELS_SHOWN = 40


def build_html(
    analysis: dict[str, Any],
    language: Language = "en",
    drift: dict[str, Any] | None = None,
) -> str:
    """Return the page for an analysis (see `analyze_rows`), with a comparison where given."""
    page = _Page(language)
    name = str(analysis.get("dataset_name", ""))
    title = page.word("title").format(name=escape(name))
    body = [f"<h1>{title}</h1>"]
    body += [_split_section(page, split, tree) for split, tree in analysis["splits"].items()]
    if drift:
        body.append(_drift_section(page, drift))
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


class _Page:
    """Words in the language of the page."""

    def __init__(self, language: Language) -> None:
        self._column = LANGUAGES.index(language)

    def word(self, key: str) -> str:
        """Return a word by its key; what has no translation is a name and stays as it is."""
        words = _WORDS.get(key)
        return escape(words[self._column] if words else key)


def _split_section(page: _Page, split: str, tree: dict[str, Any]) -> str:
    facts: list[tuple[str, Any]] = [("total_samples", tree["total_samples"])]
    if tree["label_counts"]:
        facts += [
            ("imbalance", tree["imbalance_ratio"]),
            ("balanced", page.word("yes" if tree["is_balanced"] else "no")),
        ]
    if tree["lengths"]["suggested_max_length"]:
        facts.append(("suggested", tree["lengths"]["suggested_max_length"]))
    parts = [
        f"<h2>{page.word(split)}</h2>",
        _table([(page.word(key), value) for key, value in facts]),
        '<div class="grid">',
    ]
    if tree["label_counts"]:
        parts.append(_figure(page.word("labels"), bar_chart(tree["label_counts"])))
    if tree["label_values"]:
        parts.append(_figure(page.word("values"), histogram(tree["label_values"]["histogram"])))
    for unit in ("characters", "words", "tokens"):
        lengths = tree["lengths"][unit]
        if lengths and lengths["mean"] is not None:
            parts.append(_figure(page.word(unit), histogram(lengths["histogram"]), _length_words(page, lengths)))
    vocabulary = dict(tree["vocabulary"])
    frequent = vocabulary.pop("most_frequent")
    parts.append("</div>")
    for title, values in (("vocabulary", vocabulary), ("duplicates", tree["duplicates"])):
        parts.append(
            f"<h3>{page.word(title)}</h3>" + _table([(page.word(key), value) for key, value in values.items()])
        )
    parts.append(f"<h3>{page.word('most_frequent')}</h3>" + bar_chart(frequent))
    examples = [
        (escape(label), "<br>".join(escape(text) for text in texts)) for label, texts in tree["examples"].items()
    ]
    parts.append(f"<h3>{page.word('examples')}</h3>" + _table(examples[:_LABELS_SHOWN], raw=True))
    return "\n".join(parts)


def _length_words(page: _Page, lengths: dict[str, Any]) -> str:
    ends = [f"{page.word(key)} {lengths[key]:g}" for key in ("mean", "min", "max")]
    middle = [f"{page.word('percentile')} {name}: {value:g}" for name, value in lengths["percentiles"].items()]
    return " · ".join(ends + middle)


def _drift_section(page: _Page, drift: dict[str, Any]) -> str:
    rows = []
    for part in ("labels", "lengths"):
        test = drift[part]
        verdict = page.word("differs" if test["differs"] else "alike")
        numbers = f"{page.word('statistic')} {test['statistic']:.4g}, p = {test['p_value']:.3g}"
        rows.append((page.word(part), f"{verdict}<br><small>{numbers}<br>{page.word(test['test'])}</small>"))
    title = page.word("drift").format(name=escape(str(drift.get("name", ""))))
    return f"<h2>{title}</h2>" + _table(rows, raw=True)


def bar_chart(counts: dict[str, int]) -> str:
    """Return horizontal bars, one a name; the values stand beside them."""
    shown = (
        sorted(counts.items(), key=lambda item: -item[1])[:_LABELS_SHOWN]
        if len(counts) > _LABELS_SHOWN
        else counts.items()
    )
    names, values = [str(name) for name, _ in shown], [value for _, value in shown]
    largest, height = max([*values, 1]), 20
    bars = []
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        width, y = 260 * value / largest, index * height
        label = escape(name if len(name) <= 24 else name[:23] + "…")
        bars.append(
            f'<text x="150" y="{y + 14}" text-anchor="end">{label}</text>'
            f'<rect x="156" y="{y + 3}" width="{width:.1f}" height="14" rx="2">'
            f"<title>{escape(name)}: {value}</title></rect>"
            f'<text x="{160 + width:.1f}" y="{y + 14}">{value:,}</text>'
        )
    return f'<svg viewBox="0 0 480 {len(names) * height + 4}" role="img">{"".join(bars)}</svg>'


def histogram(tree: dict[str, Any]) -> str:
    """Return a histogram from `edges` (n + 1) and `counts` (n)."""
    edges, counts = tree["edges"], tree["counts"]
    largest, width = max([*counts, 1]), 440 / max(len(counts), 1)
    bars = [
        f'<rect x="{20 + index * width:.1f}" y="{130 - 120 * count / largest:.1f}" width="{max(width - 1, 1):.1f}" '
        f'height="{120 * count / largest:.1f}"><title>{edges[index]:g}-{edges[index + 1]:g}: {count}</title></rect>'
        for index, count in enumerate(counts)
    ]
    marks = [index for index in range(len(edges)) if index % max(1, len(edges) // 6) == 0]
    ticks = [
        f'<text x="{20 + index * width:.1f}" y="146" text-anchor="middle">{edges[index]:g}</text>' for index in marks
    ]
    return f'<svg viewBox="0 0 480 152" role="img">{"".join(bars)}{"".join(ticks)}</svg>'


def _figure(title: str, plot: str, words: str = "") -> str:
    return f"<figure style='margin:0'><h3>{title}</h3>{plot}<small>{words}</small></figure>"


def _table(rows: list[tuple[str, Any]], *, raw: bool = False) -> str:
    lines = [f"<tr><th>{head}</th>{_cell(value, raw=raw)}</tr>" for head, value in rows]
    return f"<table>{''.join(lines)}</table>"


def _cell(value: Any, *, raw: bool = False) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{value if raw else escape(str(value), quote=False) if value is not None else '–'}</td>"
