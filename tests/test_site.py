"""Builds the documentation site with warnings as errors, and follows its links."""

from __future__ import annotations

import importlib
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import flowkernels.ops

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NEEDED = ("sphinx", "myst_parser", "furo", "sphinx_copybutton", "sphinx_design", "matplotlib")


def _module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the site's own."""
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    return importlib.import_module(name)


def _needs(*libraries: str) -> None:
    for library in libraries:
        pytest.importorskip(library, reason=f"{library} is not installed (extra `docs`)")


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_its_links_lead_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _needs(*NEEDED, "sphinx-mathjax-offline")
    site = tmp_path / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    built = subprocess.run(
        [*command, "-d", str(tmp_path / "doctrees"), str(DOCS), str(site)],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    broken, external = _module("check_links", monkeypatch).check(site)
    assert not broken, "\n".join(broken)
    assert external
    for name in flowkernels.ops.__all__:
        text = (site / "ops" / f"{name}.html").read_text()
        for part in (f'id="flowkernels.ops.{name}"', "In plain torch", 'id="speed"'):
            assert part in text, f"ops/{name}.html: {part}"
    for page in ("api/flows", "api/distributions", "commands", "changelog", "gallery"):
        assert (site / f"{page}.html").exists()
    assert "flowkernels train" in (site / "commands.html").read_text()
    # Of the estimators' common private base, whose methods are theirs.
    assert 'id="flowkernels.cluster.SphericalKMeans.fit"' in (site / "api/cluster.html").read_text()


# The intervals of what the scripts of the gallery return.
OUTCOMES = {
    "clusters": {"": (0.97, 1.0)},  # the share of points in their cluster; by chance .2
    "paths": {"linear": (0.69, 0.72), "normalized_linear": (0.98, 1.02)},  # 1 / sqrt(2) and 1
    "rings": {"": (0.95, 1.02)},  # the mass of three densities within the picture
    "sphere_samples": dict.fromkeys(
        ("von Mises-Fisher", "power spherical", "spherical Cauchy"), (0.88, 0.92)
    ),
}
SCRIPTS = sorted((DOCS / "gallery").glob("*.py"))


def test_every_picture_of_the_gallery_has_its_script() -> None:
    assert {script.stem for script in SCRIPTS} == set(OUTCOMES)
    pictures = {picture.stem for picture in (DOCS / "gallery").glob("*.png")}
    assert pictures == set(OUTCOMES)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_of_the_gallery_draws_its_picture(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _needs("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    picture = tmp_path / "picture.png"
    found = runpy.run_path(str(script))["main"](str(picture))
    outcomes = found if isinstance(found, dict) else {"": found}
    assert picture.stat().st_size > 10_000
    assert set(outcomes) == set(OUTCOMES[script.stem])
    for name, (least, most) in OUTCOMES[script.stem].items():
        assert least <= outcomes[name] <= most, f"{name}: {outcomes[name]}"


def test_broken_links_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = _module("check_links", monkeypatch).check
    (tmp_path / "index.html").write_text(
        '<h1 id="top"></h1><a href="#top"></a><a href="other.html#there"></a><a href="gone.html">'
        '</a><a href="other.html#away"></a><img src="none.png"><a href="https://example.org"></a>'
    )
    (tmp_path / "other.html").write_text('<h2 id="there"></h2>')
    broken, external = check(tmp_path)
    assert [line.split(": ")[1] for line in broken] == ["gone.html", "other.html#away", "none.png"]
    assert external == {"https://example.org": "index.html"}


def test_prose_of_docstrings_is_escaped_and_code_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _needs("sphinx")
    escaped = _module("docstrings", monkeypatch).escaped
    assert escaped(["|z| of (*batch, D), locs_ and \\*args"]) == [
        "\\|z\\| of (\\*batch, D), locs\\_ and \\*args"
    ]
    kept = ["`a * b`, ``|z|``, :math:`|z|` and log_det", "", ".. math:: |z| *", "    locs_", ""]
    assert escaped(kept) == kept
    assert escaped(["    locs_, n_: K.", "    x: |x|"]) == ["    locs_, n_: \\K.", "    x: \\|x\\|"]
    example = ["    >>> f(*x)", "    |y|", ""]
    assert escaped([*example, "|y|"]) == [*example, "\\|y\\|"]


def test_links_that_leave_the_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    _needs("sphinx")
    resolved = _module("outside", monkeypatch).resolved
    assert resolved("[a](../CHANGELOG.md#x)", DOCS) == "[a](/changelog.md#x)"
    assert resolved("[a](docs/speed.md)", ROOT) == "[a](/speed.md)"
    assert resolved("[Makefile](../Makefile)", DOCS) == "`Makefile`"
    assert resolved("[it](../Makefile)", DOCS) == "it (`Makefile`)"
    same = "[a](../gone.md) [b](https://example.org) [c](#here)\n```\n[d](../Makefile)\n```\n"
    assert resolved(same, DOCS) == same


def test_every_page_has_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    _needs("sphinx")
    sections = _module("contents", monkeypatch).sections
    pages = ["index", "flows", "guides/start", "guides/another", "ops/slerp", "new"]
    placed = sections(pages)
    assert placed["More"] == ["new"]
    assert placed["Guides"] == ["guides/start", "guides/another"]
    assert list(placed) == ["Guides", "Reference", "More"]
    kept = [p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md")]
    assert "More" not in sections(kept), "docs/_ext/contents.py names no section for these pages"
