"""`ft30 chat`: talking with the model of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune30.cli.named_option import named_option
from finetune30.cli.run_options import output_dir_option

if TYPE_CHECKING:
    from finetune30.service.models.chat import Conversation

_HELP = "/system TEXT: what the model is told first   /reset: forget the conversation   /quit: leave"


@click.command("chat", epilog="Example: ft30 chat latest --system 'Answer in one sentence.'")
@click.argument("run")
@click.option("--system", metavar="TEXT", help="What the model is told before the conversation.")
@named_option("max_new_tokens", type=click.IntRange(1, 131_072), default=256, show_default=True, help="Longest answer.")
@click.option(
    "--temperature",
    type=click.FloatRange(0.0, 10.0),
    default=0.0,
    show_default=True,
    help="0: always the likeliest token; above: drawn.",
)
@named_option(
    "top_p",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Draw from the likeliest tokens that have this share together.",
)
@named_option(
    "top_k",
    type=click.IntRange(0, 1_000_000),
    default=0,
    show_default=True,
    help="Draw from so many likeliest tokens; 0: from all.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="The same seed and conversation give the same answer.",
)
@click.option("--device", metavar="NAME", help="Where to compute: auto, cpu, mps or cuda; left out: detected.")
@output_dir_option
def command(
    run: str,
    system: str | None,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    seed: int,
    device: str | None,
    output_dir: Path | None,
) -> None:
    """Talk with the language model of RUN (id, folder, name, latest, NAME@alias or NAME:7); it remembers the turns.

    Every line of standard input is said to it. /system TEXT, /reset and /quit are told to the program.
    """
    from finetune30.cli.terminal_text import note
    from finetune30.modeling.conversations.generation import Sampling
    from finetune30.service.models.chat import open_conversation
    from finetune30.settings import load_settings

    sampling = Sampling(max_new_tokens, temperature, top_p, top_k, seed)
    talk = open_conversation(load_settings(), output_dir, run, sampling, system=system, device=device)
    if sys.stdin.isatty():
        note(_HELP)
    while (line := _read_line()) is not None:
        if not line.strip():
            continue
        if line.startswith("/"):
            if not _obey(talk, line):
                return
            continue
        _answer(talk, line)


def _read_line() -> str | None:
    """Return the next line, None at the end of the input."""
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    line = sys.stdin.readline()
    return line.rstrip("\r\n") if line else None


def _obey(talk: Conversation, line: str) -> bool:
    """Do what a line that begins with `/` says; return whether the conversation goes on."""
    from finetune30.cli.terminal_text import note

    word, _, rest = line.partition(" ")
    if word == "/quit":
        return False
    if word == "/reset":
        talk.reset()
        note("the conversation begins anew")
    elif word == "/system":
        talk.system = rest.strip() or None
        talk.reset()
        note(f"told first: {talk.system}" if talk.system else "nothing is told first")
        note("the conversation begins anew")
    else:
        note(f"'{word}' is none of the words that are told to the program; {_HELP}")
    return True


def _answer(talk: Conversation, line: str) -> None:
    """Print the answer while it comes; Ctrl-C breaks it off, and the conversation goes on."""
    from finetune30.cli.terminal_text import note

    try:
        for piece in talk.ask(line):
            click.echo(piece, nl=False)
            sys.stdout.flush()
    except KeyboardInterrupt:
        note("broken off")
    click.echo()
    if talk.reason != "stop":
        note({"length": "cut at --max_new_tokens", "positions": "the model knows no more positions"}[talk.reason])
