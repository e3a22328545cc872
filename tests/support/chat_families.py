"""Chat templates in the manner of families of models: their constructs, with the marks of the tiny tokenizer."""

from __future__ import annotations

from support.chat_models import CHATML

#: As Qwen 3: a preamble of tools, thoughts apart from what is said, kept behind the last question only.
QWEN = r"""{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}Functions:{% for tool in tools %}
{{ tool | tojson }}{% endfor %}<|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- set seen = namespace(query=0) %}
{%- for one in messages %}{% if one.role == 'user' %}{% set seen.query = loop.index0 %}{% endif %}{% endfor %}
{%- for one in messages %}
{%- if one.role == 'user' %}
{{- '<|im_start|>user\n' + one.content + '<|im_end|>\n' }}
{%- elif one.role == 'tool' %}
{{- '<|im_start|>user\n<result>\n' + one.content + '\n</result><|im_end|>\n' }}
{%- elif one.role == 'assistant' %}
{%- set said, thought = one.content, one.reasoning_content or '' %}
{%- if '</think>' in said %}
{%- set thought = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}
{%- set said = said.split('</think>')[-1].lstrip('\n') %}
{%- endif %}
{{- '<|im_start|>assistant\n' }}
{%- if loop.index0 > seen.query and (loop.last or thought) %}
{{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}
{%- endif %}
{{- said }}
{%- for call in one.tool_calls or [] %}
{{- '<call>\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
{{- '}\n</call>' }}
{%- endfor %}
{{- '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}
{%- endif %}"""

#: As Llama 3: a head with the date, the begin token, arguments and results as JSON.
LLAMA = r"""{{- bos_token }}
{%- set system = messages[0].content | trim if messages[0].role == 'system' else '' %}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{{- '<|im_start|>system\n\nToday: ' + strftime_now('%d %b %Y') + '\n\n' + system + '<|im_end|>' }}
{%- for one in turns %}
{%- if one.role == 'tool' %}
{{- '<|im_start|>ipython\n\n' + one.content | tojson + '<|im_end|>' }}
{%- elif one.tool_calls %}
{%- if one.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}
{%- set call = one.tool_calls[0].function %}
{{- '<|im_start|>assistant\n\n{"name": "' + call.name + '", "parameters": ' + call.arguments | tojson + '}<|im_end|>' }}
{%- else %}
{{- '<|im_start|>' + one.role + '\n\n' + one.content | trim + '<|im_end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"""

#: As Gemma 2: no system message, `model` for the assistant, turns that alternate, contents trimmed.
GEMMA = r"""{{- bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('no system message') }}{% endif %}
{%- for one in messages %}
{%- if (one.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{{- '<|im_start|>' + ('model' if one.role == 'assistant' else one.role) + '\n' + one.content | trim + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"""

#: As Mistral's first: no prompt for the assistant, a space before answers, the arguments put in as text.
MISTRAL = r"""{{- bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('no system message') }}{% endif %}
{%- for one in messages %}
{%- if one.role == 'user' %}
{{- '[INST] ' + one.content + ' [/INST]' }}
{%- elif one.role == 'tool' %}
{{- '[RESULT] ' + one.content + ' [/RESULT]' }}
{%- elif one.tool_calls %}
{{- '[CALLS] ' + one.tool_calls[0].function.name + ' ' + one.tool_calls[0].function.arguments + eos_token }}
{%- else %}
{{- ' ' + one.content + eos_token }}
{%- endif %}
{%- endfor %}"""

#: Asks for an answer with a thought that is begun already.
OPENED_THOUGHT = CHATML.removesuffix("{{ '<|im_start|>assistant\n' }}{% endif %}") + (
    "{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
FAMILIES = {"qwen": QWEN, "llama": LLAMA, "gemma": GEMMA, "mistral": MISTRAL}

_TURN = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + WHAT + '<|im_end|>\n' }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Templates that mislead markers: contents in another form, contents that are judged by their length; and those
#: that write calls without a mark behind them.
MISLEADING = {
    "opened_thought": OPENED_THOUGHT,
    "loud": _TURN.replace("WHAT", "m['content'] | upper"),
    "judging": _TURN.replace("WHAT", "m['content'] + ('!' if m['content'] | length == 1 else '')"),
    # A text of the template hangs on what a message says, so no marker tells where that stands.
    "counting": _TURN.replace("WHAT", "'(' ~ m['content'] | length ~ ') ' + m['content']"),
    # Calls end without the mark that answers end with.
    "unmarked_calls": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
        "{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}"
        "{% if not m.tool_calls %}{{ '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "endless_calls": (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}"
        "{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    ),
}
