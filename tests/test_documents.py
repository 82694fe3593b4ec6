"""Runs the Python examples of the README and docs, the commands of a guide; follows all links."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

import flowkernels.adapters

ROOT = Path(__file__).parents[1]
# Libraries that examples import at their beginning; such examples stand on their own.
OPTIONAL = {
    "sbi": "sbi is not installed (extra `sbi`)",
    "pyro": "pyro is not installed (package pyro-ppl, extra `dev`)",
    "onnxruntime": "onnxruntime is not installed (extra `onnx`)",
    **{
        name: f"{name} is not installed (extra `peers`)"
        for name in ("zuko", "nflows", "normflows", "FrEIA")
    },
}
README = ROOT / "README.md"
GUIDES = ROOT / "docs" / "guides"
TABLES, CONDITIONAL = GUIDES / "tables.md", GUIDES / "conditional.md"
DISTRIBUTIONS = ROOT / "docs" / "torch_distributions.md"
ADAPTERS = ROOT / "docs" / "adapters.md"
DEPLOYMENT = ROOT / "docs" / "deployment.md"


def blocks(page: Path) -> list[str]:
    """The Python examples of a page, in order."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def library(example: str) -> str | None:
    """Which of the optional libraries an example imports."""
    found = re.search(rf"^(?:import|from) ({'|'.join(OPTIONAL)})\b", example, flags=re.MULTILINE)
    return found[1] if found else None


def commands(page: Path) -> list[str]:
    """The indented lines of a page that call the command line."""
    return re.findall(r"^    (flowkernels .*)$", page.read_text(), flags=re.MULTILINE)


def run(page: Path, examples: list[str], scope: dict[str, object]) -> dict[str, object]:
    """The names that examples define when they run one after the other."""
    for example in examples:
        exec(compile(example, page.name, "exec"), scope)
    return scope


EVERY_PAGE = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
EVERY_PAGE += sorted((ROOT / "benchmarks").rglob("*.md"))
PAGES = [README, *sorted(page for page in (ROOT / "docs").rglob("*.md") if blocks(page))]


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures that are files, outside of its examples."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path) -> None:
    scope: dict[str, object] = {}
    first, *rest = [example for example in blocks(page) if not library(example)]
    run(page, [first], scope)
    if page == README:
        samples = scope["samples"]
        assert isinstance(samples, torch.Tensor)
        # The circles have these radii, and the noise a deviation of .05.
        median = samples.norm(dim=-1).median(-1).values
        torch.testing.assert_close(median, torch.tensor([1.2, 1.8]), rtol=0, atol=0.05)
    run(page, rest, scope)


@pytest.mark.parametrize(
    ("page", "name"),
    [(page, name) for page in PAGES for name in OPTIONAL if name in map(library, blocks(page))],
    ids=lambda value: value if isinstance(value, str) else str(value.relative_to(ROOT)),
)
def test_examples_with_another_library(page: Path, name: str) -> None:
    pytest.importorskip(name, reason=OPTIONAL[name])
    examples = [example for example in blocks(page) if library(example) == name]
    flowkernels.adapters.report().reset()
    run(page, examples, {"torch": torch})


def test_pages_have_examples_with_other_libraries() -> None:
    adapters = {"sbi": [CONDITIONAL], "pyro": [DISTRIBUTIONS], "zuko": [DISTRIBUTIONS, ADAPTERS]}
    adapters |= {name: [ADAPTERS] for name in ("nflows", "normflows", "FrEIA")}
    adapters["onnxruntime"] = [DEPLOYMENT]
    for name, pages in adapters.items():
        assert all(name in map(library, blocks(page)) for page in pages)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    for link in links(page):
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}, which is not there"
        assert target.is_relative_to(ROOT), f"{page.name} links to {link}, outside the checkout"
        if heading:
            assert heading in anchors(target), f"{page.name} links to {link}: no such heading"


def test_the_readme_links_every_guide_and_is_short() -> None:
    linked = {(ROOT / link).resolve() for link in links(README)}
    assert set(GUIDES.glob("*.md")) <= linked
    assert len(README.read_text().splitlines()) < 150


def test_commands(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """On fewer rows than the page writes; the README has no others."""
    pytest.importorskip("typer", reason="the command line is not installed (extra `train`)")
    from flowkernels.experiments.cli import app

    lines = commands(TABLES)
    assert set(commands(README)) <= set(lines)
    assert {line.split()[1] for line in lines} == {"train", "evaluate", "sample"}
    (table,) = (example for example in blocks(TABLES) if "throws.csv" in example)
    run(TABLES, [table.replace("4000", "1500")], {})
    for line in lines:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        assert app.run() == 0, (line, capfd.readouterr().err)
    scores = json.loads(Path("runs/throws/metrics.json").read_text())
    assert scores["context"] == ["speed", "angle"]
    assert scores["log_likelihood"]["mean"] > scores["gaussian"]["mean"]
    assert len(Path("runs/throws/samples.csv").read_text().splitlines()) == 1001
