"""The files by which the project presents itself agree with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flowkernels

ROOT = Path(__file__).parents[1]
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_the_citation_is_of_this_version_and_license() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE) == [flowkernels.__version__]
    settings = (ROOT / "pyproject.toml").read_text()
    (license_of_package,) = re.findall(r'^license = "(.+)"$', settings, flags=re.MULTILINE)
    assert f"\nlicense: {license_of_package}\n" in citation


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    for version in versions[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version), version
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        found = re.findall(r"^### (.+)$", part, flags=re.MULTILINE)
        assert found == [name for name in SECTIONS if name in found], found


def test_a_report_of_a_fault_asks_for_what_we_need() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (extra `study`)")
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yml")}
    assert set(forms) == {"bug_report", "feature_request", "config"}
    fields = {field["id"]: field for field in forms["bug_report"]["body"]}
    assert "flowkernels info" in fields["info"]["attributes"]["label"]
    assert all(field["validations"]["required"] for field in fields.values())
