"""An index on a network file system is refused, by every path that leads to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.file_systems import Mount, check_local, mount_of

MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /proc rw - proc proc rw
40 22 0:30 / /mnt/nas rw,relatime shared:5 - nfs4 server:/export rw,vers=4.2
41 40 254:0 /data /mnt/nas/local rw - ext4 /dev/vda rw
42 22 0:31 / /mnt/with\040space rw master:1 propagate_from:2 - cifs //server/share rw
43 22 0:32 / /mnt/auto rw - autofs /etc/auto.nas rw
44 43 0:33 / /mnt/auto rw - nfs server:/export rw
45 22 0:34 / /mnt/phone rw - fuse.sshfs me@host: rw
46 22 0:35 / /mnt/pool rw - fuse.mergerfs a:b rw
47 22 0:36 / /mnt/usb rw - fuseblk /dev/sdb1 rw
48 22 0:37 / /mnt/c rw - 9p C: rw
49 22 0:38 / /mnt/unknown rw - fuse bucket rw
50 22 0:39 / /mnt/cluster rw - wekafs backend/fs rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "point", "kind", "over_network"),
    [
        ("/home/me/index", "/", "ext4", False),
        ("/mnt/nas", "/mnt/nas", "nfs4", True),
        ("/mnt/nas/deep/er", "/mnt/nas", "nfs4", True),
        ("/mnt/nassau", "/", "ext4", False),
        ("/mnt/nas/local/index", "/mnt/nas/local", "ext4", False),
        ("/mnt/with space/x", "/mnt/with space", "cifs", True),
        ("/mnt/auto/x", "/mnt/auto", "nfs", True),
        ("/mnt/phone/x", "/mnt/phone", "fuse.sshfs", True),
        ("/mnt/pool/x", "/mnt/pool", "fuse.mergerfs", False),
        ("/mnt/usb/x", "/mnt/usb", "fuseblk", False),
        ("/mnt/c/Users", "/mnt/c", "9p", True),
        ("/mnt/unknown/x", "/mnt/unknown", "fuse", True),
        ("/mnt/cluster/x", "/mnt/cluster", "wekafs", True),
    ],
)
def test_a_path_lies_on_the_last_and_deepest_mount(path: str, point: str, kind: str, over_network: bool) -> None:
    mount = mount_of(Path(path), MOUNTS)
    assert mount == Mount(Path(point), kind)
    assert mount is not None
    assert mount.over_network is over_network


def test_a_link_to_a_share_is_refused_before_the_folder_exists(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {share} rw - smb3 //server/photos rw\n")
    (tmp_path / "index").symlink_to(share / "not there yet")
    check_local(tmp_path / "elsewhere" / "shard-0", mounts)
    with pytest.raises(VisualSearchError) as refused:
        check_local(tmp_path / "index" / "shard-0", mounts)
    assert refused.value.code == "invalid_setting"
    for part in ("VS_WORKSPACE", str(tmp_path / "index" / "shard-0"), "smb3", str(share), "VS_ALLOW_NETWORK_FS"):
        assert part in refused.value.message


def test_where_mounts_are_not_listed_nothing_is_refused(tmp_path: Path) -> None:
    check_local(tmp_path, tmp_path / "no such file")
