#!/usr/bin/env python3
"""Run README's two commands and the Dockerfile's steps in a bare Debian that has python3, python3-venv and git alone.

    sudo python3 .ci/bare_debian.py                    # both; about 15 minutes
    sudo python3 .ci/bare_debian.py --only readme      # or: --only dockerfile
    sudo python3 .ci/bare_debian.py --base FOLDER      # keeps the Debian in FOLDER, and takes it from there next time

Needs root (chroot, mounts) and Debian's package mmdebstrap. It tries what is committed: a clone of this repository.
pip's configuration on this machine holds inside too, with the local folders that it names. No engine builds the
Dockerfile: its steps are run in copies of the same Debian, whose python3 stands in for the image that FROM names; then
its command segments a CT without a network, as a user number that has no name
(`docker run --network none --user 54321:54321`).
Exit codes: 0 all passed; 1 a step failed; 2 this machine lacks what is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = "python3,python3-venv,ca-certificates,git"
SUITE = "bookworm"
NAMELESS = "54321:54321"
_OWN_MOUNTS = "LUNGSEG3D_BARE_DEBIAN_HAS_OWN_MOUNTS"
PLAIN_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


# ---- what the two documents say ----


def readme_commands(text: str) -> list[str]:
    """Return the lines of the first code block of README, without their comments."""
    block = text.split("```", 2)[1]
    return [line.split("  #")[0].strip() for line in block.splitlines() if line.strip()]


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: `name` in capitals, `text` the rest with continued lines joined."""

    name: str
    text: str


def dockerfile_instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile in order; comments and empty lines are left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines()]
    return [Instruction(name.upper(), rest) for name, rest in found]


def allowed_in_context(dockerignore: str) -> set[str]:
    """Return the names that .dockerignore lets into the build (`*` first, then `!name`)."""
    return {line[1:].strip() for line in dockerignore.splitlines() if line.startswith("!")}


# ---- a Debian to run commands in ----


@dataclass(frozen=True)
class Machine:
    """A root file system, and how to run a command in it."""

    root: Path

    def run(
        self,
        command: list[str],
        *,
        environment: Mapping[str, str],
        folder: str = "/",
        user: str = "root",
        network: bool = True,
    ) -> None:
        """Run `command` inside; raise CalledProcessError when it fails."""
        inside = f"cd {shlex.quote(folder)} && exec {shlex.join(command)}"
        words = ["chroot", f"--userspec={user}", str(self.root), "/bin/sh", "-c", inside]
        subprocess.run(words if network else ["unshare", "--net", *words], env=dict(environment), check=True)

    @contextmanager
    def mounted(self, shared: Mapping[Path, str]) -> Iterator[None]:
        """Mount /proc, /dev and `shared` (outside to inside, read only) as long as the block lasts."""
        targets: list[Path] = []
        try:
            for source, inside in {Path("/proc"): "/proc", Path("/dev"): "/dev", **shared}.items():
                target = self.root / inside.lstrip("/")
                if source.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.touch()
                subprocess.run(["mount", "--rbind", str(source), str(target)], check=True)
                targets.append(target)
            yield
        finally:
            for target in reversed(targets):
                subprocess.run(["umount", "--recursive", "--lazy", str(target)], check=False)


def make_base(folder: Path) -> Machine:
    """Make a bare Debian in `folder`, or take the one that is there; `python` is its python3, as in Python's images."""
    if not (folder / "usr").is_dir():
        subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder)], check=True)
        shutil.copy("/etc/resolv.conf", folder / "etc" / "resolv.conf")
        shutil.copy("/etc/hosts", folder / "etc" / "hosts")
    return Machine(folder)


def copy_of(base: Machine, folder: Path) -> Machine:
    """Copy a machine; the copy costs little where the file system shares blocks."""
    subprocess.run(["cp", "-a", "--reflink=auto", f"{base.root}/.", str(folder)], check=True)
    return Machine(folder)


def pip_settings() -> tuple[dict[str, str], dict[Path, str]]:
    """Return this machine's pip configuration as variables, and the local paths that it names, to be mounted."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    variables, paths = {}, {}
    for key, value in re.findall(r"^(?:global|install|:env:)\.(\S+?)='(.*)'$", listed, flags=re.MULTILINE):
        variables[f"PIP_{key.upper().replace('-', '_')}"] = value.replace("\\n", " ")
        for word in value.replace("\\n", " ").split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                path = path.parent if key.endswith("index-url") else path  # an index links to files beside it
                paths[path] = str(path)
    return variables, paths


# ---- README ----


def try_readme(base: Machine, work: Path) -> Path:
    """Run README's two commands, word for word, as an ordinary user in a fresh clone; return the demo's folder."""
    machine = copy_of(base, work / "readme")
    variables, paths = pip_settings()
    machine.run(["useradd", "--create-home", "reader"], environment=PLAIN_ENVIRONMENT)
    clone = machine.root / "home" / "reader" / "lungseg3d"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(clone)], check=True)
    machine.run(["chown", "-R", "reader:reader", "/home/reader"], environment=PLAIN_ENVIRONMENT)
    environment = {**PLAIN_ENVIRONMENT, **variables, "HOME": "/home/reader", "USER": "reader"}
    with machine.mounted(paths):
        for command in readme_commands((clone / "README.md").read_text(encoding="utf-8")):
            with timed(f"README: {command}"):
                machine.run(
                    ["sh", "-c", command], environment=environment, folder="/home/reader/lungseg3d", user="reader"
                )
    return clone / "lungseg3d-demo"


# ---- Dockerfile ----


@dataclass
class Stage:
    """One stage of a Dockerfile while its steps are run."""

    machine: Machine
    environment: dict[str, str] = field(default_factory=lambda: dict(PLAIN_ENVIRONMENT))
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)

    def expand(self, text: str) -> str:
        return Template(text).safe_substitute({**self.environment, **self.arguments})


class Build:
    """The steps of a Dockerfile, run in copies of a Debian.

    Args:
        base: the Debian that stands in for every image named by FROM.
        context: the folder whose files COPY takes.
        arguments: values of ARG (`--build-arg`).
    """

    def __init__(self, base: Machine, context: Path, work: Path, arguments: Mapping[str, str]) -> None:
        self._base, self._context, self._work, self._given = base, context, work, arguments
        self._allowed = allowed_in_context((context / ".dockerignore").read_text(encoding="utf-8"))
        self._pip, self._paths = pip_settings()
        self._stages: dict[str, Stage] = {}
        self.stage: Stage | None = None

    def run(self, instruction: Instruction) -> None:
        """Run one instruction."""
        if instruction.name == "FROM":
            self._begin(instruction.text)
        elif self.stage is not None:
            getattr(self, f"_{instruction.name.lower()}")(self.stage, instruction.text)

    def _begin(self, text: str) -> None:
        name = text.rsplit(" AS ", maxsplit=1)[-1].strip() if " AS " in text else f"stage-{len(self._stages)}"
        machine = copy_of(self._base, self._work / name)
        (machine.root / "usr" / "local" / "bin" / "python").symlink_to("/usr/bin/python3")
        self.stage = self._stages[name] = Stage(machine)

    def _arg(self, stage: Stage, text: str) -> None:
        name, _, default = text.partition("=")
        stage.arguments[name] = self._given.get(name, default)

    def _env(self, stage: Stage, text: str) -> None:
        for word in shlex.split(text):
            name, _, value = word.partition("=")
            stage.environment[name] = stage.expand(value)

    def _workdir(self, stage: Stage, text: str) -> None:
        stage.folder = text
        (stage.machine.root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _user(self, stage: Stage, text: str) -> None:
        stage.user = text

    def _copy(self, stage: Stage, text: str) -> None:
        *sources, target = [word for word in text.split() if not word.startswith("--")]
        other = re.search(r"--from=(\S+)", text)
        for source in sources:
            if other is None and source not in self._allowed:
                raise ValueError(f"COPY {source}: .dockerignore does not let it into the build")
            origin = self._stages[other[1]].machine.root / source.lstrip("/") if other else self._context / source
            place = stage.machine.root / os.path.join(stage.folder, target).lstrip("/")
            if origin.is_dir():
                shutil.copytree(origin, place, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(origin, place)

    def _run(self, stage: Stage, text: str) -> None:
        environment = {**stage.environment, **stage.arguments, **self._pip}
        with stage.machine.mounted(self._paths), timed(f"Dockerfile: RUN {text}"):
            stage.machine.run(["sh", "-c", text], environment=environment, folder=stage.folder, user=stage.user)

    def _entrypoint(self, stage: Stage, text: str) -> None:
        stage.entrypoint = json.loads(text)

    def _cmd(self, stage: Stage, text: str) -> None:
        """Leave out the default words: `container` gives its own."""

    def container(self, words: list[str], mounts: Mapping[Path, str], user: str) -> None:
        """Run the last stage's entry point with `words`, without a network and without pip's settings."""
        assert self.stage is not None, "a Dockerfile without FROM"
        stage = self.stage
        with stage.machine.mounted(mounts), timed(f"docker run --user {user}: {shlex.join(words)}"):
            command = [*stage.entrypoint, *words]
            stage.machine.run(command, environment=stage.environment, folder=stage.folder, user=user, network=False)


def try_dockerfile(base: Machine, work: Path, series: Path | None) -> None:
    """Run the Dockerfile's steps, then its command on `series` (or on a demo of its own) as a number without a name."""
    context = work / "context"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(context)], check=True)
    build = Build(base, context, work, {"TORCH_INDEX_URL": default_index()})
    for instruction in dockerfile_instructions((context / "Dockerfile").read_text(encoding="utf-8")):
        build.run(instruction)
    results = work / "results"
    results.mkdir()
    user, group = map(int, NAMELESS.split(":"))
    os.chown(results, user, group)
    build.container(["--version"], {}, NAMELESS)
    if series is None:
        build.container(["demo", "--out", "/results/demo"], {results: "/results"}, NAMELESS)
        series = series_in(results / "demo")
    mounts = {series: "/ct/series-folder", results: "/results"}
    build.container(["segment", "/ct/series-folder", "--out", "/results"], mounts, NAMELESS)
    record = json.loads(next(results.glob("series-folder*/result.json")).read_text(encoding="utf-8"))
    if record["status"] != "done":
        raise ValueError(f"the container's segmentation ended with status {record['status']!r}")


def series_in(demo: Path) -> Path:
    """Return the folder of the DICOM series that `demo` made."""
    return next(demo.rglob("*.dcm")).parent


def default_index() -> str:
    """Return the index that pip takes unless it is told another."""
    program = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


# ---- the run ----


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Print a step before it runs, and its minutes after it."""
    print(f"\n=== {step}", flush=True)
    before = time.monotonic()
    yield
    print(f"--- {(time.monotonic() - before) / 60:.1f} min: {step}", flush=True)


def missing_here() -> str:
    """Return why this machine cannot run the script, or an empty string."""
    if os.geteuid() != 0:
        return "needs root, for chroot and mounts: sudo python3 .ci/bare_debian.py"
    absent = [name for name in ("mmdebstrap", "chroot", "mount", "unshare", "git") if shutil.which(name) is None]
    return f"needs {', '.join(absent)}: apt-get install {' '.join(absent)}" if absent else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("readme", "dockerfile"), help="Try one of the two.")
    parser.add_argument("--base", type=Path, help="Keep the bare Debian in this folder, and take it from there.")
    options = parser.parse_args()
    if reason := missing_here():
        print(reason, file=sys.stderr)
        return 2
    if _OWN_MOUNTS not in os.environ:  # mounts of its own: none is left behind, whatever happens, and none is shared
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, __file__, *sys.argv[1:]]
        return subprocess.run(words, env={**os.environ, _OWN_MOUNTS: "1"}, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="lungseg3d-bare.") as folder:
        work = Path(folder)
        work.chmod(0o755)  # the user inside walks through it
        try:
            base = make_base((options.base or work / "debian").resolve())
            demo = try_readme(base, work) if options.only != "dockerfile" else None
            if options.only != "readme":
                try_dockerfile(base, work, series_in(demo) if demo else None)
        except (subprocess.CalledProcessError, ValueError) as error:
            print(f"\nFailed: {error}", file=sys.stderr)
            return 1
    print("\nPassed: bare Debian.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
