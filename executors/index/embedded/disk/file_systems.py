"""The file system of a folder, and whether SQLite is safe on it.

SQLite's log needs shared memory and locks, which other machines don't see through a network file system, and a server
that restarts may lose what it reported as written (https://www.sqlite.org/useovernet.html). So the index refuses such a
folder unless the operator accepts the risk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from executors.errors import VisualSearchError

_MOUNTS: Final = Path("/proc/self/mountinfo")
# Hosts share folders with virtual machines by 9p (as WSL does with its drives), without the shared memory that the log
# needs.
_NETWORK: Final = frozenset(
    (
        *("9p", "afs", "acfs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre"),
        *("mfs", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb2", "smb3", "smbfs"),
        *("cvfs", "kafs", "quobyte", "snfs", "vboxsf", "vmhgfs", "wekafs"),
    )
)
# Of the file systems that a user-space program serves (FUSE), only those known to be on this machine's disks count as
# local.
_LOCAL_FUSE: Final = frozenset(
    (
        *("fuse.bindfs", "fuse.cryfs", "fuse.encfs", "fuse.exfat", "fuse.ext2", "fuse.ext4", "fuse.fuse-overlayfs"),
        *("fuse.gocryptfs", "fuse.lxcfs", "fuse.mergerfs", "fuse.mhddfs", "fuse.ntfs", "fuse.ntfs-3g", "fuse.overlay"),
        *("fuse.squashfuse", "fuse.unionfs", "fuse.unionfs-fuse", "fuse.veracrypt", "fuse.zfs"),
    )
)
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount point and the kernel's name for its file system type."""

    point: Path
    kind: str

    @property
    def over_network(self) -> bool:
        """Whether its files may be on another machine."""
        if self.kind == "fuse" or self.kind.startswith("fuse."):
            return self.kind not in _LOCAL_FUSE
        return self.kind in _NETWORK


def mount_of(path: Path, mounts: str) -> Mount | None:
    """The mount that a path without links is on.

    Args:
        path: absolute; it need not exist.
        mounts: the text of /proc/self/mountinfo (proc(5)): later mounts hide earlier ones of the same place.
    """
    found: Mount | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 5 or not kinds[0]:
            continue
        point = Path(_ESCAPED.sub(lambda octal: chr(int(octal.group(1), 8)), fields[4]))
        if path.is_relative_to(point) and (found is None or len(point.parts) >= len(found.point.parts)):
            found = Mount(point, kinds[0])
    return found


def check_local(folder: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a folder on a network file system. If the system does not list its mounts, every folder is accepted.

    Raises:
        VisualSearchError: `invalid_setting`, naming the folder, the file system and the solution.
    """
    try:
        resolved = folder.resolve()
        # An automounted folder is in the list only after its first use.
        next(each for each in (resolved, *resolved.parents) if each.exists())
        text = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, RuntimeError):  # a loop of links is reported when the folder is made
        return
    mount = mount_of(resolved, text)
    if mount is not None and mount.over_network:
        raise VisualSearchError(
            "invalid_setting",
            f"VS_WORKSPACE: {str(folder)!r} is on a network file system ({mount.kind}, mounted at {str(mount.point)!r}), where"
            " the index can lose what it acknowledged: choose a folder on a disk of this machine, or set"
            " VS_ALLOW_NETWORK_FS=on to take that on yourself",
            variables=["VS_WORKSPACE", "VS_ALLOW_NETWORK_FS"],
            file_system=mount.kind,
        )
