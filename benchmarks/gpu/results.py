"""The files that a run writes: one JSON file, one archive of logs, one picture.

The JSON file is valid and complete at every moment: after each new result it is rewritten
atomically.
"""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

from .stages import Outcome, Stage

# Limits of the files that can be copied back from a lent machine.
MOST_FILES, MOST_BYTES = 8, 16 * 2**20
LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]+")
LARGEST_LOG = 2**20  # longer logs keep only their end


def stem(date: str, commit: str, kind: str) -> str:
    """The common file name of a run: the day, the commit if known, and the kind."""
    known = re.fullmatch(r"[0-9a-f]{7,40}", commit)
    return f"{date[:10]}-{commit[:7] if known else 'unknown'}-{kind}"


class Results:
    """The results so far, in memory and on disk."""

    def __init__(self, output: Path, work: Path, name: str, head: dict[str, Any]) -> None:
        assert LEGAL_NAME.fullmatch(name), name
        self.path = output / f"{name}.json"
        self.archive = output / f"{name}-logs.tar.gz"
        self.picture = output / f"{name}.png"
        self.logs = work / "logs"
        self.head = head
        self.outcomes: list[dict[str, Any]] = []
        self._sources: list[Stage] = []
        self._seen: dict[Path, int] = {}

    def plan(self, stages: list[Stage]) -> None:
        """Set the stages whose lines are part of the result; remove lines of earlier runs."""
        self._sources = [s for s in stages if s.lines]
        for stage in self._sources:
            assert stage.lines
            stage.lines.unlink(missing_ok=True)

    def add(self, outcome: Outcome, **facts: Any) -> None:
        """Record the end of a stage."""
        self.outcomes.append({**outcome.facts(), **facts})
        self.save()
        self._pack_logs()

    def watch(self) -> None:
        """Save if a stage has written new lines."""
        sizes = {s.lines: s.lines.stat().st_size for s in self._sources if _exists(s.lines)}
        if sizes != self._seen:
            self.save()
            self._seen = sizes

    def sections(self) -> dict[str, list[dict[str, Any]]]:
        """The lines of all stages, by section."""
        found: dict[str, list[dict[str, Any]]] = {}
        for stage in self._sources:
            section = found.setdefault(stage.section, [])
            if stage.lines and stage.lines.exists():
                section += read_lines(stage.lines)
        return found

    def save(self) -> None:
        """Write all results so far."""
        plain = json.dumps({**self.head, "stages": self.outcomes}, indent=1)
        parts = [plain[:-2]]
        for name, lines in self.sections().items():
            body = ",\n".join(f"  {json.dumps(line)}" for line in lines)
            parts.append(f' "{name}": [\n{body}\n ]' if lines else f' "{name}": []')
        text = ",\n".join(parts) + "\n}\n"
        partial = self.path.with_name(f".{self.path.name}.partial")
        partial.write_text(text)
        partial.replace(self.path)

    def _pack_logs(self) -> None:
        """Pack the end of every log into one archive."""
        partial = self.archive.with_name(f".{self.archive.name}.partial")
        with tarfile.open(partial, "w:gz") as archive:
            for log in sorted(self.logs.iterdir()):
                if log.stat().st_size > LARGEST_LOG:
                    text = log.read_bytes()[-LARGEST_LOG:]
                    log = log.with_suffix(".end")
                    log.write_bytes(text)
                archive.add(log, log.name)
        partial.replace(self.archive)


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a file of JSON objects; the last line may be truncated."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def problems_with(folder: Path) -> list[str]:
    """The reasons why a folder of results could not be copied back."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    found = [f"{len(files)} files, at most {MOST_FILES}"] if len(files) > MOST_FILES else []
    for path in files:
        if not LEGAL_NAME.fullmatch(path.name):
            found.append(f"{path.name}: only letters, digits, '.', '_' and '-' are allowed")
        if path.stat().st_size > MOST_BYTES:
            found.append(f"{path.name}: {path.stat().st_size} bytes, at most {MOST_BYTES}")
    return found
