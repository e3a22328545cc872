"""`ft30 ui`: the page in the browser."""

from __future__ import annotations

import importlib.util
import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from finetune30.cli.addresses import own_address, shown_address
from finetune30.cli.named_option import named_option
from finetune30.cli.terminal_text import tell

#: Streamlit options that never change.
_FIXED = (
    "--server.headless=true",
    "--browser.gatherUsageStats=false",
    "--server.fileWatcherType=none",
    "--server.runOnSave=false",
    "--client.toolbarMode=minimal",
    "--client.showErrorDetails=none",
    "--server.maxUploadSize=200",
    "--server.showEmailPrompt=false",
    "--runner.fastReruns=false",  # one script of a session at a time: docs/decisions/presses-on-the-page.md
    "--runner.postScriptGC=false",  # Python clears up by itself; all of it after each drawing holds up what was drawn
)
PAGE = Path(__file__).parents[1] / "ui"


@click.command("ui")
@click.option("--host", metavar="ADDRESS", help="Address to bind to; default: FT30_UI_HOST.")
@click.option("--port", type=click.IntRange(1, 65_535), metavar="N", help="Port; default: FT30_UI_PORT.")
@named_option("api_url", metavar="ADDRESS", help="Address of the API; default: from FT30_API_HOST and FT30_API_PORT.")
def command(host: str | None, port: int | None, api_url: str | None) -> None:
    """Serve the page on localhost:8501; it needs the API (ft30 api)."""
    import os
    import socket

    from finetune30.errors import ServiceUnavailableError
    from finetune30.settings import load_settings

    settings = load_settings()
    host, port = host or settings.ui_host, port or settings.ui_port
    if importlib.util.find_spec("streamlit") is None:
        raise ServiceUnavailableError("the page needs Streamlit", "install it: pip install 'finetune30[ui]'")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceUnavailableError(
                f"port {port} on {host} cannot be used: {error.strerror}",
                "stop what listens there, or choose another: ft30 ui --port 8502",
            ) from error
    address = api_url or own_address(settings.api_host, settings.api_port)
    arguments = build_command(host, port, address, settings.allowed_origins)
    tell(f"page: {shown_address(host, port)}")
    os.execv(arguments[0], arguments)  # noqa: S606  # Ctrl-C and signals reach the page itself


def build_command(host: str, port: int, api_url: str, origins: Sequence[str] = ()) -> list[str]:
    """Return the command line that serves the page on host:port over the API at `api_url`.

    `origins` are those of other web pages that may use this one.
    """
    local = is_loopback(host)
    names = ["localhost", "127.0.0.1", "[::1]", host] if local else ["*"]
    own = [f"--server.address={host}", f"--server.port={port}"]
    own += [f"--server.allowedHosts={name}" for name in dict.fromkeys(names)]
    own += [f"--server.corsAllowedOrigins={origin}" for origin in origins]
    page = ["--api-url", api_url, *([] if local else ["--require-key"])]
    return [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(PAGE / "web_app.py"),
        *_FIXED,
        *own,
        *_theme_options(),
        "--",
        *page,
    ]


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _theme_options() -> list[str]:
    """The theme as options: Streamlit looks for its own file in the working folder only."""
    import json
    import tomllib

    options = []
    for section, values in tomllib.loads((PAGE / "theme.toml").read_text(encoding="utf-8"))["theme"].items():
        if isinstance(values, dict):
            options += [f"--theme.{section}.{name}={value}" for name, value in values.items()]
        elif isinstance(values, list):
            options.append(f"--theme.{section}={json.dumps(values)}")
        else:
            options.append(f"--theme.{section}={values}")
    return options
