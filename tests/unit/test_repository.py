"""The repository keeps its own rules: locks, reasons for lint ignores, make targets, import rules, documentation."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
SOURCES = [
    file
    for folder in ("schemas", "services", "deploy", "tests")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if "__pycache__" not in file.parts
]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SERVICES = {f"services.{name}" for name in ("intake", "scoring", "awards", "notifications", "ledger")}


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE))


# Locks


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_no_lock_carries_the_address_of_an_index(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert pins(lock)
    assert not re.findall(r"\w+://\S+|--(?:extra-)?index-url|--find-links|--trusted-host", text)


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_every_pinned_package_has_a_hash(lock: Path) -> None:
    entries = re.split(r"^(?=[\w.-]+==)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_both_locks_pin_the_same_version_of_what_both_name() -> None:
    runtime, dev = pins(ROOT / "requirements/runtime.lock"), pins(ROOT / "requirements/dev.lock")
    assert {package: dev.get(package) for package in runtime} == runtime


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_every_lock_holds_what_the_build_of_this_package_needs(lock: Path) -> None:
    pinned = {f"{package}=={version}" for package, version in pins(lock).items()}
    assert set(project()["build-system"]["requires"]) <= pinned


# Lint


def test_every_ignored_lint_rule_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.flake8-bugbear]")]
    rules = re.findall(r'^\s+"([A-Z]+\d*)",[ ]*(.*)$', section, re.MULTILINE)
    settings = project()["tool"]["ruff"]["lint"]
    ignored = [*settings["ignore"], *(rule for rules in settings["per-file-ignores"].values() for rule in rules)]
    assert sorted(rule for rule, _ in rules) == sorted(ignored), "one rule per line"
    assert [rule for rule, reason in rules if not re.match(r"# \w+", reason)] == []


def test_every_rule_ignored_at_a_line_is_named_with_its_reason() -> None:
    marker = re.compile(r"#\s*(?:ruff:\s*)?noqa(?::\s*(?P<rules>[A-Z]+\d+(?:,\s*[A-Z]+\d+)*))?(?P<reason>.*)")
    bare = [
        f"{name(file)}:{number}"
        for file in SOURCES
        if file != Path(__file__)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (found := marker.search(line)) and not (found["rules"] and re.search(r"\w{2}", found["reason"]))
    ]
    assert bare == []


# Make


def targets() -> dict[str, str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z-]+):[^=\n]*?(?:## *(.*))?$", text, re.MULTILINE))


def test_make_alone_lists_every_target_with_one_line() -> None:
    listed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607  (make is wherever the machine keeps it)
    lines = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", listed.stdout, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    assert set(lines) == set(targets()) == set(phony[1].split())
    assert {"demo", "up", "test", "check", "clean"} <= set(lines)


# Import rules


def contract(identifier: str) -> dict[str, Any]:
    (found,) = [one for one in project()["tool"]["importlinter"]["contracts"] if one["id"] == identifier]
    return dict(found)


def test_the_independence_of_all_five_services_is_checked() -> None:
    assert set(contract("independence")["modules"]) == SERVICES


def test_the_verifier_is_kept_from_all_services_but_what_two_of_them_decide_by() -> None:
    rule = contract("verifier")
    assert set(rule["source_modules"]) == {
        "services.verifier",
        "services.exported",
        "services.recomputation",
        "services.eligibility",
        "services.receipt",
    }
    assert set(rule["forbidden_modules"]) == SERVICES
    assert set(rule["ignore_imports"]) == {
        "services.recomputation -> services.scoring.domain",
        "services.recomputation -> services.awards.domain",
        "services.recomputation -> services.awards.rules",
    }


# Documentation


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)", text) + re.findall(
        r"^\[[^\]]+\]:\s*(\S+)", text, re.MULTILINE
    )
    relative = [link for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in relative if not (page.parent / link.split("#")[0]).exists()] == []


def test_every_page_of_the_documentation_can_be_reached_from_its_index() -> None:
    reached, ahead = set[Path](), [ROOT / "docs/README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^):#\s]+)", page.read_text(encoding="utf-8"))
        ahead += [(page.parent / link).resolve() for link in links]
    generated = {file for file in (ROOT / "docs/reference").glob("*.md") if file.name != "README.md"}
    assert {name(file) for file in (ROOT / "docs").rglob("*.md")} == {
        name(file) for file in reached | generated if file.is_relative_to(ROOT / "docs")
    }


def shell_lines() -> list[str]:
    blocks = [
        block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    return [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]


def test_every_make_target_in_the_documentation_exists() -> None:
    named = {line.split()[1] for line in shell_lines() if line.startswith("make ")}
    assert named
    assert named <= set(targets())


COMMANDS = sorted({line for line in shell_lines() if line.startswith(".venv/bin/cec ")})


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_in_the_documentation_exists_with_its_options(line: str) -> None:
    words = line.split()[1:]
    command = words[
        : next((at for at, word in enumerate(words) if not re.fullmatch(r"[a-z-]*[a-z]", word) or word[0] == "-"), None)
    ]
    options = [word for word in words if word.startswith("-")]
    shown = subprocess.run(
        [Path(sys.executable).with_name("cec"), *command, "--help"],
        env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert [option for option in options if not re.search(rf"(?<!\S){option}\b", shown.stdout)] == []
