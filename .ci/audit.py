"""Known vulnerabilities in what we depend on: the floors of pyproject.toml, what is installed, and what others know.

    python .ci/audit.py             floors and installed versions against .ci/advisories.json; needs no network
    python .ci/audit.py --online    then pip-audit, which asks PyPI's vulnerability service

In: pyproject.toml, .ci/advisories.json. Out: lines, and an exit code: 0 nothing found, 1 something found, 3 not
audited.
A package index alone is not enough for --online: where the service does not answer, pip-audit skips every package and
ends with 0. Here that is 3.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
FOUND, NOT_AUDITED = 1, 3


def floors(pyproject: Path) -> dict[str, Version]:
    """Package -> the oldest version that pyproject.toml permits, extras included; those without a floor left out."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(t for extra in project["optional-dependencies"].values() for t in extra)]
    found = {}
    for requirement in map(Requirement, texts):
        lowest = [Version(item.version) for item in requirement.specifier if item.operator in (">=", "==", "~=")]
        if lowest:
            found[requirement.name.lower()] = max(lowest)
    return found


def complaints(advisories: Sequence[Mapping[str, str]], lowest: Mapping[str, Version]) -> list[str]:
    """Advisories that a permitted or an installed version has, and that nobody accepted with a reason."""
    said = []
    for advisory in advisories:
        name, fixed = advisory["package"], Version(advisory["fixed"])
        what = f"{name}: {advisory['id']} is fixed in {fixed}"
        floor = lowest.get(name)
        if (floor is None or floor < fixed) and not advisory.get("accepted"):
            said.append(f"{what}, pyproject.toml permits {floor or 'any version'} ({advisory['source']})")
        try:
            if Version(version(name)) < fixed and not advisory.get("accepted"):
                said.append(f"{what}, {version(name)} is installed")
        except PackageNotFoundError:
            continue
    return said


def verdict(report: Mapping[str, Sequence[Mapping]], ours: str = "lungseg3d") -> tuple[int, list[str]]:
    """Exit code and lines of what pip-audit reported: skipped packages are not audited ones."""
    packages = [package for package in report["dependencies"] if package["name"] != ours]
    vulnerable = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if vulnerable:
        return FOUND, vulnerable
    if skipped or not packages:
        some = ", ".join(skipped[:5])
        return NOT_AUDITED, [f"not audited: {len(skipped)} of {len(packages)} packages skipped ({some} ...)"]
    return 0, [f"{len(packages)} packages audited, nothing known"]


def online() -> tuple[int, list[str]]:
    """Ask pip-audit about what is installed."""
    words = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
        return verdict(json.loads(done.stdout))
    except (ValueError, subprocess.TimeoutExpired, OSError) as error:
        return NOT_AUDITED, [f"not audited: pip-audit gave no report ({type(error).__name__}); pip install pip-audit"]


def main(arguments: Sequence[str]) -> int:
    """Print what was found; the exit code of the module's header."""
    advisories = json.loads((ROOT / ".ci" / "advisories.json").read_text(encoding="utf-8"))
    said = complaints(advisories, floors(ROOT / "pyproject.toml"))
    print("\n".join(said) or f"{len(advisories)} known advisories: floors and installed versions are beyond them")
    for advisory in advisories:
        if advisory.get("accepted"):
            print(f"accepted: {advisory['package']} {advisory['id']}: {advisory['accepted']}")
    code = FOUND if said else 0
    if "--online" in arguments:
        asked, lines = online()
        print("\n".join(lines))
        code = code or asked
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
