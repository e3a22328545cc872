"""Starting the page: the Streamlit command with every option that keeps it calm, offline and closed."""

from __future__ import annotations

import importlib.util
import ipaddress
import sys
from pathlib import Path

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
)
THEME = Path(__file__).parent / "theme.toml"
APP = Path(__file__).parent / "app.py"


def is_installed() -> bool:
    """Tell whether Streamlit is there."""
    return importlib.util.find_spec("streamlit") is not None


def build_command(host: str, port: int, api_url: str) -> list[str]:
    """Return the command line that serves the page on host:port over the API at `api_url`."""
    local = is_loopback(host)
    names = ["localhost", "127.0.0.1", "[::1]", host] if local else ["*"]
    own = [f"--server.address={host}", f"--server.port={port}"]
    own += [f"--server.allowedHosts={name}" for name in dict.fromkeys(names)]
    page = ["--api-url", api_url, *([] if local else ["--require-key"])]
    return [sys.executable, "-m", "streamlit", "run", str(APP), *_FIXED, *own, *_theme_options(), "--", *page]


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
    import tomllib

    options = []
    for section, values in tomllib.loads(THEME.read_text(encoding="utf-8"))["theme"].items():
        if isinstance(values, dict):
            options += [f"--theme.{section}.{name}={value}" for name, value in values.items()]
        else:
            options.append(f"--theme.{section}={values}")
    return options
