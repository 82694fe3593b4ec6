"""Runs the driver of tests/cuda/driver and saves each line of its output immediately.

python -m benchmarks.gpu.drive --driver DRIVER --lines driver.jsonl -- --check
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Returns the driver's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--driver", type=Path, required=True)
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("arguments", nargs="*")
    chosen = parser.parse_args()
    with chosen.lines.open("w") as file:
        process = subprocess.Popen(
            [str(chosen.driver), *chosen.arguments], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            file.flush()
            print(line, end="", flush=True)
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
