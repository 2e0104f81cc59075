"""What DVC's remote holds, read again: `python -m flows.remote` puts back what is corrupted there from this cache."""

import sys
from pathlib import Path


def mend_remote(project: Path) -> tuple[int, list[str], list[str]]:
    """Hash every object in the default remote; replace each that is not what its name says by the one in this cache.

    A push goes by names alone: it would never replace such an object, and every pull would go on refusing it.

    Returns:
        How many were read, the hashes of those replaced, and of those that this cache has not either, which stay.

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
        for name in tqdm(sorted(remote.all()), desc="reading the remote", unit="object", disable=None):
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
    sys.stdout.write(f"{read} objects read, {len(mended)} corrupted and put back\n")
    sys.stdout.writelines(f"put back: {name}\n" for name in mended)
    if left:
        sys.stderr.write(
            f"compodiff: corrupted, and not in this cache: {' '.join(left)}; run this in a clone with them\n"
        )
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
