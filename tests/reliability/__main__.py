"""Runs a campaign: `python -m tests.reliability CAMPAIGN [options] [--keep]`.

`python -m tests.reliability page` writes the kept figures into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from . import page
from .campaign import Campaign, execute


def campaigns() -> list[Campaign]:
    """Those that the modules of this folder declare as CAMPAIGN."""
    found = []
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name.startswith(("test_", "__")):
            continue
        declared = getattr(
            importlib.import_module(f"{__package__}.{module.name}"), "CAMPAIGN", None
        )
        if isinstance(declared, Campaign):
            found.append(declared)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    commands = parser.add_subparsers(dest="campaign", required=True)
    known = {campaign.name: campaign for campaign in campaigns()}
    for campaign in known.values():
        command = commands.add_parser(campaign.name, help=campaign.summary)
        campaign.add_arguments(command)
        command.add_argument("--keep", action="store_true", help="write the figures to results/")
    commands.add_parser("page", help="write the kept figures into docs/reliability.md")
    arguments = parser.parse_args()
    if arguments.campaign == "page":
        print(f"wrote {page.write()}")
        return 0
    return execute(known[arguments.campaign], arguments)


if __name__ == "__main__":
    sys.exit(main())
