"""Known vulnerabilities of the packages that this one names as its dependencies, as constraints.txt pins them.

The registry's own page of a release lists the advisories that are known of it; each package is asked for once. Where
the registry cannot be reached that is said in one line, and is no failure; a package with an advisory is one.
"""

import json
import re
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = "https://pypi.org/pypi"
PATIENCE_SECONDS = 20


def main() -> int:
    """Print what is known, and return the exit code."""
    pinned, asked, findings = pins(), 0, list[str]()
    try:
        for name in sorted(dependencies() & pinned.keys()):
            findings += advisories(name, pinned[name], released(name, pinned[name]))
            asked += 1
    except (OSError, ValueError) as error:
        print(f"audit: no advisory database could be reached ({error}); {asked} packages were asked about")
    for finding in findings:
        print(f"audit: {finding}")
    if asked:
        print(f"audit: {asked} dependencies as constraints.txt pins them, advisories: {len(findings)}")
    return 1 if findings else 0


def dependencies() -> set[str]:
    """The names that pyproject.toml gives, with those of the extras that users install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    return {plain(match[0]) for line in (*project["dependencies"], *extras) if (match := re.match(r"[\w.-]+", line))}


def pins() -> dict[str, str]:
    """Versions by name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {
        plain(match[1]): match[2] for line in lines if (match := re.match(r"([\w.-]+)(?:\[.*\])?==([\w.!+]+)", line))
    }


def plain(name: str) -> str:
    """A name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def released(name: str, version: str) -> Any:
    """What the registry says of a release; an empty answer where it does not have it."""
    try:
        with urllib.request.urlopen(f"{REGISTRY}/{name}/{version}/json", timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:  # from another index
            return {}
        raise


def advisories(name: str, version: str, release: Any) -> Iterator[str]:
    """What is known of a release, in words."""
    for one in release.get("vulnerabilities", []):
        if not one.get("withdrawn"):
            mended = ", ".join(one.get("fixed_in", [])) or "no version yet"
            about = str(one.get("summary") or one.get("details"))[:100]
            yield f"{name} {version}: {one['id']} ({about}); mended in {mended}"


if __name__ == "__main__":
    sys.exit(main())
