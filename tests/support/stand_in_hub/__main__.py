"""A stand-in hub as a process of its own: python -m support.stand_in_hub --port 8123 --folder /tmp/hub --fill."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from support.stand_in_hub.server import StandInHub


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m support.stand_in_hub", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the repositories lie")
    parser.add_argument("--fill", action="store_true", help="put all repositories there first")
    arguments = parser.parse_args()
    hub = StandInHub(arguments.folder, port=arguments.port)
    if arguments.fill:
        from support.stand_in_hub.contents import fill_hub

        fill_hub(hub)
    with hub:
        sys.stdout.write(f"HF_ENDPOINT={hub.endpoint}\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    # Before threads start, which inherit it: the signals are waited for instead of breaking in.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
