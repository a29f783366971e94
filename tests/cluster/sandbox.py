"""A container's file system and user for a local process: what its pod mounts, and nothing of this
machine that can be written.

The root is a folder into which the folders of this machine's own root are mounted, read-only. Where
a pod mounts something below one of them, that one is a folder of links instead, into ``/.host``,
which is the whole root of this machine. What a pod may change (``/tmp`` and its volumes) is mounted over it; the process has
the user id that the pod asks for. It shares the network with this machine.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).parents[2]
IMAGES = Path(__file__).parent / "images"
_HOST = ".host"
_OWN = frozenset({"dev", "etc", "run", "tmp", "var"})
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
_ENTER = """
root=$1 user=$2 group=$3 mounts=$4 directory=$5
shift 5
mount --bind "$root" "$root"
mount --rbind / "$root/.host"
mount -o remount,bind,ro "$root/.host"
while read -r mode source target; do
  mount --rbind "$source" "$root$target"
  if [ "$mode" = ro ]; then mount -o remount,bind,ro "$root$target"; fi
done <"$mounts"
mount -o remount,bind,ro "$root"
exec unshare --map-user="$user" --map-group="$group" --root="$root" --wd="$directory" -- "$@"
"""


def missing() -> str | None:
    """What this machine lacks to run processes so, or nothing."""
    found = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False
    )
    return None if found.returncode == 0 else "mount namespaces of its own"


@dataclass(slots=True)
class Sandbox:
    """The root of one container. ``names`` is a folder with its ``hosts``."""

    folder: Path
    names: Path
    user: int
    group: int
    _mounts: list[tuple[bool, Path, str]] = field(default_factory=list)
    _shown: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        (self.root / _HOST).mkdir(parents=True)
        for entry in Path("/").iterdir():
            if entry.is_dir() and not entry.is_symlink() and entry.name not in _OWN:
                (self.root / entry.name).mkdir()
                self._shown.add(entry)
            elif entry.name not in _OWN:
                self._link(entry)
        for name in sorted(_OWN):
            (self.root / name).mkdir()
        self._etc()
        self._devices()
        scratch = self.folder / "tmp"
        scratch.mkdir()
        self.mount(scratch, "/tmp", read_only=False)
        for needed in (SOURCES, Path(sys.prefix), Path(sys.base_prefix)):
            self.show(needed)

    @property
    def root(self) -> Path:
        """What the process sees as ``/``."""
        return self.folder / "root"

    def mount(self, source: Path, target: str, *, read_only: bool) -> None:
        """Show ``source``, a folder or a file, at ``target``."""
        place = self._place(target)
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        below = [one for one in self._mounts if Path(one[2]).is_relative_to(target)]
        self._mounts = [one for one in self._mounts if one not in below]
        self._mounts.append((read_only, source, target))
        # What is already below it comes after it, at a place in it: a checkout in /tmp, which a
        # pod has of its own.
        for only, lower, inside in below:
            if inside != target:
                self.mount(lower, inside, read_only=only)

    def show(self, folder: Path) -> None:
        """Let it be where it is on this machine, also below what pods have of their own."""
        if folder.parts[1] in _OWN:
            self.mount(folder, str(folder), read_only=True)

    def command(self, words: list[str], directory: str = "/tmp") -> list[str]:
        """What to start on this machine; it ends when the thread that started it does."""
        table = self.folder / "mounts"
        mounts = [*((True, one, str(one)) for one in sorted(self._shown)), *self._mounts]
        table.write_text(
            "".join(
                f"{'ro' if only else 'rw'} {source} {target}\n" for only, source, target in mounts
            )
        )
        enter = ["unshare", "--mount", "--map-root-user", "bash", "-ec", _ENTER, "bash"]
        where = [str(self.root), str(self.user), str(self.group), str(table), directory]
        return ["setpriv", "--pdeathsig", "KILL", *enter, *where, *words]

    def _etc(self) -> None:
        self.mount(self.names, "/.names", read_only=True)
        for entry in Path("/etc").iterdir():
            self._link(entry)
        (self.root / "etc" / "nsswitch.conf").unlink(missing_ok=True)
        (self.root / "etc" / "nsswitch.conf").write_text("passwd: files\nhosts: files\n")
        (self.root / "etc" / "hosts").unlink(missing_ok=True)
        (self.root / "etc" / "hosts").symlink_to("/.names/hosts")
        (self.root / "etc" / "passwd").unlink(missing_ok=True)
        (self.root / "etc" / "passwd").write_text(f"pod:x:{self.user}:{self.group}::/tmp:/bin/sh\n")

    def _devices(self) -> None:
        for name in _DEVICES:
            self.mount(Path("/dev") / name, f"/dev/{name}", read_only=False)
        for name, tail in _LINKS.items():
            (self.root / "dev" / name).symlink_to(f"/proc/self/fd{tail}")
        shared = self.folder / "shm"
        shared.mkdir()
        self.mount(shared, "/dev/shm", read_only=False)
        said = self.folder / "termination-log"
        said.touch()
        self.mount(said, "/dev/termination-log", read_only=False)

    def _place(self, target: str) -> Path:
        """Where a mount point has to be made: inside an earlier mount, or in the root."""
        path = Path(target)
        for _only, source, earlier in reversed(self._mounts):
            if path.is_relative_to(earlier) and source.is_dir():
                return source / path.relative_to(earlier)
        for above in reversed(path.parents[:-1]):
            self._open(above)
        return self.root / path.relative_to("/")

    def _open(self, path: Path) -> None:
        """Make a folder of links out of a link to a folder of this machine."""
        inside = self.root / path.relative_to("/")
        if path in self._shown:
            self._shown.remove(path)
        elif inside.is_symlink():
            inside.unlink()
            inside.mkdir()
        else:
            return
        for entry in path.iterdir():
            self._link(entry)

    def _link(self, entry: Path) -> None:
        inside = self.root / entry.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        if entry.is_symlink():
            inside.symlink_to(entry.readlink())
        else:
            inside.symlink_to(f"/{_HOST}{entry}")
