"""Symbolic links among the files of an input: which are followed, and what is said of the others.

In: a folder, and what its user allows. Out: its folders and files in order, and the links that were left out. A link is
followed while it stays inside of what was given, or anywhere with --follow-links; never twice to one folder, so circles
end. Also knows the placeholders of git-annex and Git LFS, whose content was not fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lungseg3d.core import IntakeError
from lungseg3d.io.intake.reading import ReadOptions, shown

LINK_CODES = ("E_LINK_NOT_FOLLOWED", "E_LINK_BROKEN")
"""What an input is refused for that is, or holds, links which were not followed."""
_FOLLOW = "[Pass --follow-links to follow them, or give|Give] the folder that they lead to."
_MEND = "Mend the links, or copy the files that they should lead to."
_FETCH = "Fetch what they stand for: git annex get (or datalad get, git lfs pull), then try again."
_ANNEX = ".git/annex/objects"
_PLACEHOLDERS = (b"/annex/objects/", b"version https://git-lfs.github.com/spec/")
_OF_GIT = (".git", ".datalad")


@dataclass(frozen=True)
class LinkRule:
    """Which links are followed: those that stay inside of a folder, or all."""

    inside: Path
    anywhere: bool = False

    def why_not(self, path: Path) -> str:
        """`broken`: nothing is there; `outside`: it leads out, and that is not allowed; empty for all other paths."""
        if not os.path.exists(path):
            return "broken" if os.path.islink(path) else ""
        if self.anywhere:
            return ""
        real, inside = os.path.realpath(path), os.path.realpath(self.inside)
        return "" if real == inside or real.startswith(os.path.join(inside, "")) else "outside"


@dataclass(frozen=True)
class LeftLink:
    """A link that was not followed, and why: `broken` or `outside`."""

    path: Path
    why: str
    is_folder: bool = False


@dataclass(frozen=True)
class FolderListing:
    """What one folder holds: files and folders, those behind links that are followed among them, and links left out."""

    folder: Path
    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    left: tuple[LeftLink, ...] = field(default=())


def link_rule(root: Path, options: ReadOptions) -> LinkRule:
    """The rule for an input: links may stay inside of it, or of the tree that it was found in."""
    root = root if root.is_dir() else root.parent
    return LinkRule(options.links_within or root, options.follow_links)


def walk_folders(
    root: Path, rule: LinkRule, is_skipped: Callable[[Path], bool] | None = None
) -> Iterator[FolderListing]:
    """Every folder at and under `root`, each real folder once: at its own place, else where the first link leads to it.

    Args:
        root: the folder; one that is a link itself is followed, as somebody named it.
        rule: for links.
        is_skipped: says of a folder that it is not looked into; those of Git never are.
    """
    entered: set[str] = set()
    plain, behind_links = [root], list[Path]()
    while plain or behind_links:
        folder = plain.pop() if plain else behind_links.pop(0)
        real = os.path.realpath(folder)
        if real in entered:
            continue
        entered.add(real)
        listing = _list(folder, rule, is_skipped)
        yield listing
        links = [path for path in listing.folders if os.path.islink(path)]
        behind_links += links
        plain += reversed([path for path in listing.folders if path not in links])


def _list(folder: Path, rule: LinkRule, is_skipped: Callable[[Path], bool] | None) -> FolderListing:
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # not ours to read
        return FolderListing(folder)
    files, folders, left = list[Path](), list[Path](), list[LeftLink]()
    for path in (folder / name for name in names):
        is_folder = os.path.isdir(path)
        if is_folder and (path.name in _OF_GIT or (is_skipped is not None and is_skipped(path))):
            continue
        why = rule.why_not(path) if os.path.islink(path) else ""
        if why:
            left.append(LeftLink(path, why, is_folder))
        else:
            (folders if is_folder else files).append(path)
    return FolderListing(folder, tuple(files), tuple(folders), tuple(left))


def left_links(root: Path, rule: LinkRule) -> tuple[LeftLink, ...]:
    """The links of a whole tree that are not followed."""
    return tuple(link for listing in walk_folders(root, rule) for link in listing.left)


def links_text(left: Sequence[LeftLink], root: Path) -> tuple[str, str]:
    """(what was found, remedy) of links that were not followed, for messages."""
    outside, broken = ([link.path for link in left if link.why == why] for why in ("outside", "broken"))
    parts, remedies = [], []
    if outside:
        verbs = "links lead" if outside[1:] else "link leads"
        were = "were" if outside[1:] else "was"
        example = f" ({shown(outside[0], root)})" if outside[0] != root else ""
        parts.append(f"{len(outside)} {verbs} outside of what was given and {were} not followed{example}")
        remedies.append(_FOLLOW)
    if broken:
        annexed = sum(_ANNEX in _target(path) for path in broken)
        what = "files of git-annex whose content is not here" if annexed == len(broken) else "links that lead nowhere"
        what = what if broken[1:] else what.replace("files", "file").replace("links that lead", "link that leads")
        example = f" ({shown(broken[0], root)})" if broken[0] != root else ""
        parts.append(f"{len(broken)} {what}{example}")
        remedies.append(_FETCH if annexed else _MEND)
    return "; ".join(parts), " ".join(remedies)


def links_error(left: Sequence[LeftLink], root: Path) -> IntakeError:
    """Why an input cannot be read of which links were left out: E_LINK_NOT_FOLLOWED, or E_LINK_BROKEN."""
    found, remedy = links_text(left, root)
    code = "E_LINK_NOT_FOLLOWED" if any(link.why == "outside" for link in left) else "E_LINK_BROKEN"
    return IntakeError(code, f"{shown(root)}: {found}.", remedy)


def check_link(path: Path, options: ReadOptions) -> None:
    """Refuse a path that is a link to nothing, or leads out of the tree in which it was found.

    Raises:
        IntakeError: E_LINK_NOT_FOLLOWED, E_LINK_BROKEN.
    """
    if options.links_within is None and not os.path.islink(path):
        return
    # Whoever names a link wants it followed; in a tree, nobody named it.
    rule = LinkRule(options.links_within or path.parent, options.follow_links or options.links_within is None)
    if why := rule.why_not(path):
        raise links_error([LeftLink(path, why)], path)


def is_pointer_file(start: bytes) -> bool:
    """Whether a file, by its first bytes, only stands for one that git-annex or Git LFS has not fetched."""
    return start.startswith(_PLACEHOLDERS)


def placeholder_error(path: Path, root: Path | None = None) -> IntakeError:
    """Why such a file cannot be read."""
    text = f"{shown(path, root)}: a placeholder of git-annex or Git LFS; the content of the file is not here."
    return IntakeError("E_LINK_BROKEN", text, _FETCH)


def _target(link: Path) -> str:
    try:
        return Path(os.readlink(link)).as_posix()
    except OSError:
        return ""
