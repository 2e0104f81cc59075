"""Read DVC's remote again, put back from this cache what is corrupted or gone, and remove uploads that were cut off.

Run: python -m flows.processes.mend_remote.
"""

import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvc_data.hashfile.db import HashFileDB

_OBJECT = re.compile(r"[0-9a-f]{32,}(\.dir)?")
_UPLOAD = re.compile(r"[0-9a-f]{2}\.[\w-]{22}\.tmp")  # as dvc_objects names what a remote of files has not whole yet
_STALLED_SECONDS = 3600.0  # since an upload last wrote; one that goes on writes all the time


def mend_remote(project: Path) -> tuple[int, list[str], list[str]]:
    """Hash every object in the default remote; put back from this cache what is not as named, and what dvc.lock needs.

    A push goes by names, and by what DVC noted that it pushed: such an object would stay, and pulls would fail.

    What an upload that was killed, or that met a full disk, left there is removed once nobody writes to it any more.

    Returns:
        How many were read, the hashes of those put back, and of those that this cache has not either, which stay.

    Raises:
        dvc.exceptions.DvcException: no remote is configured.
        OSError: the remote does not answer, or refuses.
    """
    from dvc.repo import Repo
    from dvc_data.hashfile.hash import hash_file
    from dvc_objects.errors import ObjectFormatError
    from tqdm import tqdm

    read, mended, left = 0, [], []
    with Repo(str(project)) as repo:
        remote, cache = repo.cloud.get_remote_odb(command="check"), repo.cache.local
        names = set(remote.all())
        _remove_cut_off(remote, filter(_UPLOAD.fullmatch, names))
        there = set(filter(_OBJECT.fullmatch, names))
        needed = {each.value for hashes in repo.used_objs().values() for each in hashes}
        for name in tqdm(sorted(there | needed), desc="reading the remote", unit="object", disable=None):
            if name in there:
                read += 1
                _, found = hash_file(remote.oid_to_path(name), remote.fs, remote.hash_name)
                if found.value == name.removesuffix(".dir"):
                    continue
            try:
                cache.check(name)
            except (ObjectFormatError, FileNotFoundError):
                left.append(name)
            else:
                remote.add(cache.oid_to_path(name), cache.fs, name, check_exists=False)
                mended.append(name)
    return read, mended, left


def _remove_cut_off(remote: "HashFileDB", names: Iterable[str]) -> None:
    for path in map(remote.oid_to_path, names):
        written = remote.fs.info(path).get("mtime")
        if isinstance(written, float) and time.time() - written > _STALLED_SECONDS:  # else the remote does not tell
            remote.fs.remove(path)


def main() -> int:
    """Mend the remote of the project in the current folder; returns 1 where something is left corrupted."""
    from dvc.exceptions import DvcException

    try:
        read, mended, left = mend_remote(Path.cwd())
    except (DvcException, OSError) as error:
        sys.stderr.write(f"compodiff: the remote cannot be read: {error}\n")
        return 1
    sys.stdout.write(f"{read} objects read, {len(mended)} put back\n")
    sys.stdout.writelines(f"put back: {name}\n" for name in mended)
    if left:
        sys.stderr.write(
            f"compodiff: corrupted or gone, and not in this cache: {' '.join(left)}; run this in a clone with them\n"
        )
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
