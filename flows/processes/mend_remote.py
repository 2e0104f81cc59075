"""Read DVC's remote again and put back from this cache what is corrupted or gone.

Run: python -m flows.processes.mend_remote.
"""

import sys
from pathlib import Path


def mend_remote(project: Path) -> tuple[int, list[str], list[str]]:
    """Hash every object in the default remote; put back from this cache what is not as named, and what dvc.lock needs.

    A push goes by names, and by what DVC noted that it pushed: such an object would stay, and pulls would fail.

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
        there = set(remote.all())
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
