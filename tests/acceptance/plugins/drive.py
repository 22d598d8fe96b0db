"""Runs a configuration as `liberator run` does, and prints every event of the runner as a JSON line.

python drive.py CONFIG [--until-current]
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys

from liberator.config import load
from liberator.runner import run


def tell(event):
    print(json.dumps(dataclasses.asdict(event), default=str), file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup, whose children ignore it
    sys.exit(run(load(sys.argv[1]), "--until-current" in sys.argv, tell))
