"""Which kernels move 16 bytes an access, and how many narrower accesses each may have."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import tomllib

from .machine_code import Code

RULES = Path(__file__).with_name("widths.toml")


@dataclass(frozen=True)
class Rule:
    """A kind of kernel; `loads` and `stores` of 16 bytes at least, narrow ones at most."""

    kernel: str
    reason: str
    loads: int = 0
    stores: int = 0
    narrow_loads: int | None = None
    narrow_stores: int | None = None
    # The same numbers where an architecture has others: {"sm_100": {"narrow_loads": 7}}.
    arch: dict[str, dict[str, int]] = field(default_factory=dict)


def rules(path: Path = RULES) -> list[Rule]:
    """The rules in their order; the first that fits a kernel holds for it."""
    return [Rule(**entry) for entry in tomllib.loads(path.read_text())["rule"]]


def check(name: str, arch: str, code: Code, among: list[Rule]) -> list[str]:
    """What is wrong with the accesses of kernel `name`."""
    rule = next((r for r in among if re.fullmatch(r.kernel, name)), None)
    if rule is None:
        return [f"{name} on {arch}: {RULES.name} has no rule for it"]
    rule = replace(rule, **rule.arch.get(arch, {}))
    problems = []
    wide = {"loads": ("LDG", "LDGSTS", "LD"), "stores": ("STG", "ST")}
    for kind, opcodes in wide.items():
        least, most = getattr(rule, kind), getattr(rule, f"narrow_{kind}")
        found = " ".join(f"{o} {code.by_width(o)}" for o in opcodes if o in code.accesses)
        many = sum(code.wide(o) for o in opcodes)
        few = sum(code.narrow(o) for o in opcodes)
        if many < least:
            problems.append(
                f"{name} on {arch}: {many} {kind} of 16 bytes, at least {least} wanted ({found})"
            )
        if most is not None and few > most:
            problems.append(
                f"{name} on {arch}: {few} narrow {kind}, at most {most} allowed ({found})"
            )
    return problems
