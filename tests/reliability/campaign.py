"""What a campaign is, and how its figures are kept."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from flowkernels.experiments.data.files import write_json

RESULTS = Path(__file__).parent / "results"


@dataclass
class Outcome:
    """What a campaign did and what it found."""

    figures: dict[str, Any]  # counts and sizes, as the page shows them
    findings: list[str] = field(default_factory=list)  # what is wrong, a line each
    skipped: list[str] = field(default_factory=list)  # what was not tried, with the reason


@dataclass(frozen=True)
class Campaign:
    """One kind of attack: its options, and what runs it."""

    name: str
    summary: str  # one line
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], Outcome]


def keep(campaign: Campaign, arguments: Namespace, outcome: Outcome, seconds: float) -> Path:
    """Writes the outcome beside those of the other campaigns, whole or not at all."""
    path = RESULTS / f"{campaign.name}.json"
    options = {k: v for k, v in vars(arguments).items() if k not in ("campaign", "keep")}
    record = {
        "campaign": campaign.name,
        "options": options,
        "machine": machine.facts(),
        "seconds": round(seconds, 1),
        "figures": outcome.figures,
        "findings": outcome.findings,
        "skipped": outcome.skipped,
    }
    return write_json(path, record, indent=1)


def execute(campaign: Campaign, arguments: Namespace) -> int:
    """Runs a campaign and prints what it found; 1 if it found anything."""
    begin = time.monotonic()
    outcome = campaign.run(arguments)
    seconds = time.monotonic() - begin
    for name, value in outcome.figures.items():
        print(f"{name}: {value}")
    for reason in outcome.skipped:
        print(f"skipped: {reason}")
    for finding in outcome.findings:
        print(f"FOUND: {finding}")
    print(f"{len(outcome.findings)} findings in {seconds:.0f} s")
    if arguments.keep:
        print(f"kept in {keep(campaign, arguments, outcome, seconds)}")
    return 1 if outcome.findings else 0
