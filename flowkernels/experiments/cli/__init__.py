"""The command ``flowkernels``: train, evaluate, interpolate, sample, study, info and demo."""

from __future__ import annotations

import sys

from flowkernels.experiments.data.extras import MissingExtraError, require

__all__ = ["main"]


def main() -> None:
    """Run the command; a user error ends with one message and status 2.

    Status 1 means that training diverged, 130 that it was interrupted.
    """
    if sys.argv[1:] == ["info"]:  # which works without the extra
        from flowkernels.experiments.cli.info import info

        info()
        return
    try:
        require("typer", extra="train", purpose="the command 'flowkernels'")
        from flowkernels.experiments.cli.app import run
    except MissingExtraError as error:
        sys.exit(f"error: {error}")
    sys.exit(run())
