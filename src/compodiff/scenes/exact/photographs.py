"""Free photographs that packages bring, of which nothing is fetched: what the benchmark of exact edits is made of."""

from importlib.resources import files
from pathlib import Path

from compodiff.errors import InputInvalid

# Name -> package and path in it.
PHOTOGRAPHS = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "officer": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
PHOTOGRAPHERS = (
    "Photographs: flower by vultilion and temple by danielbuechele (flickr.com), CC BY 2.0, from scikit-learn; cat by "
    "Stefan van der Walt, coffee by Rachel Michetti and retina by Mikael Häggström, CC0, astronaut and galaxies by "
    "NASA and rocket by SpaceX, public domain, from scikit-image; officer by the US Navy, public domain, from "
    "matplotlib."
)


def find_photographs() -> dict[str, Path]:
    """Return where each photograph lies.

    Raises:
        InputInvalid: a package brings it no more.
    """
    found = {name: Path(str(files(package))) / path for name, (package, path) in PHOTOGRAPHS.items()}
    for name, path in found.items():
        if not path.is_file():
            raise InputInvalid(
                f"{path}, the photograph {name!r}, is not there; install the versions of constraints.txt"
            )
    return found
