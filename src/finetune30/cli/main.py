"""The entry of `ft30`: finds the command, runs it, and turns every ending into lines and an exit code.

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 130 interrupted. Results go to stdout, everything else to
stderr. Commands return None and raise Finetune30Error.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

import finetune30
from finetune30.cli.registry import COMMANDS, GROUPS
from finetune30.cli.terminal_text import silence, tell
from finetune30.errors import Finetune30Error

INTERRUPTED = 130
#: What to do about the faults of a machine that have nothing to do with finetune30.
_SYSTEM_REMEDIES = {
    errno.ENOSPC: "free some disk space, then run the same command again",
    errno.EDQUOT: "free some of your disk quota, then run the same command again",
    errno.EACCES: "check the permissions, or choose another folder",
    errno.EPERM: "check the permissions, or choose another folder",
    errno.EROFS: "choose a folder that can be written",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then run the same command again",
}


class LazyGroup(click.Group):
    """A click group that imports a command only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, attribute = entry.target.split(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)  # noqa: S101 - a wrong line in the registry, caught by its test
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help from the registry alone, by group."""
        for group in GROUPS:
            rows = [
                (name, entry.summary) for name, entry in COMMANDS.items() if entry.group == group and not entry.hidden
            ]
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"ft30 {finetune30.__version__} (Python {'.'.join(str(part) for part in sys.version_info[:3])})")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
def app() -> None:
    """Fine-tune a model with LoRA, and never lose, mix up or fail to repeat an experiment.

    First run: ft30 train. All keys of a configuration: ft30 config schema --markdown.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit; `arguments` None means those of the process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without Unicode shows escapes instead of failing
            stream.reconfigure(errors="backslashreplace")
    code = run_command(arguments)
    try:
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
    except OSError:
        silence(sys.stdout)
    sys.exit(code)


def run_command(arguments: Sequence[str] | None) -> int:
    """Run one command and return its exit code; whatever ended it has been said. The context's `obj` is `arguments`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = app.main(args=given, prog_name="ft30", standalone_mode=False, obj=tuple(given))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        _print_usage_error(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        tell("interrupted")
        return INTERRUPTED
    except Finetune30Error as error:
        _print_error(error.message, error.remedy)
        return error.exit_code
    except BrokenPipeError:
        silence(sys.stdout)
        return 1
    except OSError as error:
        return _report_system_error(error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a user never sees a traceback
        return _report_unexpected(error)
    return result if isinstance(result, int) else 0  # click hands back the code of ctx.exit()


def _print_error(message: str, remedy: str) -> None:
    tell(f"Error: {message}")
    if remedy:
        tell(f"Try: {remedy}")


def _print_usage_error(error: click.ClickException) -> None:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ft30"
    message = error.format_message()
    if isinstance(error, click.exceptions.NoSuchOption):
        message = _explain_option(error) or message
    _print_error(message, f"{command} --help")


def _explain_option(error: click.exceptions.NoSuchOption) -> str:
    """Name our word for a flag that other tools have, such as --lr; "" when it is none of those."""
    from finetune30.config.fields import FOREIGN_KEYS

    known = FOREIGN_KEYS.get(error.option_name.lstrip("-").replace("-", "_"))
    parameters = error.ctx.command.params if error.ctx is not None else []
    if known is None or not any("--set" in parameter.opts for parameter in parameters):
        return ""
    return f"no option {error.option_name} here, it is --{known}"


def _report_system_error(error: OSError) -> int:
    remedy = _SYSTEM_REMEDIES.get(error.errno or 0)
    if remedy is None:
        return _report_unexpected(error)
    place = f": {error.filename}" if error.filename else ""
    _print_error(f"{error.strerror}{place}", remedy)
    return 1


def _report_unexpected(error: Exception) -> int:
    summary = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    report = "".join(traceback.format_exception(error))
    _print_error(f"unexpected {summary}", f"report it with {_save_report(report)}")
    return 1


def _save_report(report: str) -> str:
    import tempfile

    heading = f"finetune30 {finetune30.__version__}, Python {sys.version}\n{sys.argv}\n\n"
    try:
        handle, name = tempfile.mkstemp(prefix="ft30-error-", suffix=".log", text=True)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(heading + report)
    except OSError as failure:
        return f"its traceback, which could not be saved ({failure.strerror})"
    return name
