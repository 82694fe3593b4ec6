"""Reads hardware counters of twelve kernels with Nsight Compute on the driver.

    python -m benchmarks.gpu.profile --driver DRIVER --lines profile.jsonl --log profile.csv

Each kernel runs once at a size that fills the GPU. Clocks are not changed.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cuda.kernels import short_name

# Forward and backward of each: twelve kernels, plus the kernels that sum the splits of long rows.
OPS = ("affine_coupling", "log_det_diagonal", "stereographic", "vmf_log_prob", "slerp", "bessel")
STALLS = ("long_scoreboard", "short_scoreboard", "barrier", "math_pipe_throttle",
          "mio_throttle", "lg_throttle", "wait", "not_selected")  # fmt: skip
# Nsight Compute's name of a metric -> ours.
METRICS = {
    "gpu__time_duration.sum": "nanoseconds",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "dram__bytes_read.sum": "dram_bytes_read",
    "dram__bytes_write.sum": "dram_bytes_written",
    "sm__inst_issued.avg.pct_of_peak_sustained_elapsed": "issue_percent",
    "smsp__inst_executed.sum": "warp_instructions",
    "l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio": "sectors_a_load",
    "l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_st.ratio": "sectors_a_store",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "launch__registers_per_thread": "registers",
    "launch__shared_mem_per_block_dynamic": "shared_bytes",
    "launch__grid_size": "blocks",
    **{
        f"smsp__average_warps_issue_stalled_{name}_per_issue_active.ratio": f"stall_{name}"
        for name in STALLS
    },
}


def find() -> str | None:
    """The Nsight Compute program, or None."""
    for candidate in (shutil.which("ncu"), "/usr/local/cuda/bin/ncu"):
        if candidate and Path(candidate).exists():
            return candidate
    return None


def command(ncu: str, driver: str) -> list[str]:
    """The command that profiles our kernels in one run of the driver."""
    return [
        ncu, "--clock-control", "none", "--csv", "--page", "raw", "--print-units", "base",
        "--kernel-name-base", "demangled", "--kernel-name", "regex:fk::cuda",
        "--metrics", ",".join(METRICS), driver, "--once", "--sizes", "all", "--ops", *OPS,
    ]  # fmt: skip


def kernels(text: str) -> Iterator[dict[str, Any]]:
    """The kernels of a report: a row of names, a row of units, then one row per kernel."""
    rows = [row for row in csv.reader(text.splitlines()) if len(row) > 5]
    start = next((i for i, row in enumerate(rows) if "Kernel Name" in row), None)
    if start is None:
        return
    names = rows[start]
    for row in rows[start + 1 :]:
        values = dict(zip(names, row, strict=False))
        if not values.get("Kernel Name"):
            continue  # the units
        facts: dict[str, Any] = {"kernel": short_name(values["Kernel Name"])}
        for metric, ours in METRICS.items():
            number = values.get(metric, "").replace(",", "")
            try:
                facts[ours] = float(f"{float(number):.5g}")
            except ValueError:
                facts[ours] = None  # this GPU or version lacks the counter
        yield facts


def main() -> int:
    """Profile, save the report and write one line per kernel; 1 if nothing was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--driver", required=True)
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    chosen = parser.parse_args()
    ncu = find()
    if ncu is None:
        print("Nsight Compute (ncu) was not found on PATH or in /usr/local/cuda/bin")
        return 1
    with chosen.log.open("w") as file:
        code = subprocess.run(
            command(ncu, chosen.driver), stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
    text = chosen.log.read_text(errors="replace")
    found = list(kernels(text))
    with chosen.lines.open("w") as file:
        for facts in found:
            file.write(json.dumps(facts) + "\n")
            print(json.dumps(facts))
    if not found:
        print(text[-2000:])
    return 0 if found and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
