"""The long form of the proof for three hosts: runs are handed in while hosts, cables and services fail at random.

    make chaos-hosts ARGS="--runs 1000 --seed 7"        python tests/chaos_hosts.py --runs 200

Hosts a and b have a worker each, a the API, host c PostgreSQL and Redis; all see one folder. Most runs are drills, every
thirtieth is a real training, every third of those in two processes. In the end a table counts the runs that were lost,
doubled, unreadable or stuck, and the trainings with another result than without a disturbance. Prints the seed, which
repeats the same sequence of misfortunes. Exit code 1 unless all counts are 0. Needs root on Linux.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from support.fleet import API_KEY, SERVICES, Fleet, fleet_of_hosts
from support.fleet_chaos import FleetChaos
from support.fleet_verdict import Verdict, judge
from support.fleet_trainings import Trainings, build_trainings
