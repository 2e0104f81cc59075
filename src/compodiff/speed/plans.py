"""What an index over 10^5, 10^7 or 10^9 pictures takes, from rates that were measured here and a few assumptions.

Every figure says whether it was measured, computed from measured rates, or assumed.
"""

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
from PIL import Image

from compodiff.encoders import Encoder
from compodiff.images import decode
from compodiff.index.encoded import encode_pixels
from compodiff.index.segments.lists import PER_LIST, RABITQ_BITS, choose_lists

COUNTS = (10**5, 10**7, 10**9)
_MEASURED, _COMPUTED, _ASSUMED = "measured", "computed", "assumed"
_SHOWN = 32  # pictures that are encoded to measure
_EDGE = 640, 480
_CORES = 32  # of a machine, assumed
_MEMORY = 128  # GB of a machine, assumed


@dataclass(frozen=True)
class MeasuredRates:
    """What `compodiff bench index` measured at one size, and what a picture takes to be encoded.

    Attributes:
        rows, width: of that index.
        build: processor seconds of its build.
        size: bytes on the disk.
        answers: queries a processor second.
        picture: processor seconds from a JPEG's bytes to its vector; a core.
    """

    rows: int
    width: int
    build: float
    size: float
    answers: float
    picture: float

    @classmethod
    def of(cls, measured: Mapping[str, Any], picture: float) -> "MeasuredRates":
        """Take the JSON of `compodiff bench index`."""
        found = {row["figure"]: float(row["measured"]) for row in measured["rows"]}
        rows, width = (int(part.replace(",", "")) for part in measured["vectors"].split(" x "))
        build = 60 * found["build, processor minutes"]
        size = 1e9 * found["index, GB on the disk"]
        return cls(rows, width, build, size, found["queries a processor second"], picture)


@dataclass(frozen=True)
class Prices:
    """What is assumed of machines and prices.

    Attributes:
        gpu_pictures: pictures a second that a GPU encodes.
        core_hour, gpu_hour, gigabyte_month: prices.
    """

    gpu_pictures: float = 1000.0
    core_hour: float = 0.05
    gpu_hour: float = 2.0
    gigabyte_month: float = 0.1


def measure_picture(encoder: Encoder) -> float:
    """Return the processor seconds that a picture takes: decoded, scaled and encoded."""
    generator = np.random.default_rng(17)
    contents = []
    for _ in range(_SHOWN):
        coarse = Image.fromarray(generator.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize(_EDGE, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        contents.append(stream.getvalue())
    encode_pixels(encoder, [encoder.preprocess(decode(contents[0]))])
    began = time.process_time()
    encode_pixels(encoder, [encoder.preprocess(decode(content)) for content in contents])
    return (time.process_time() - began) / len(contents)


def plan(rates: MeasuredRates, prices: Prices, counts: Sequence[int] = COUNTS) -> list[dict[str, Any]]:
    """Return rows of a table: a figure, its value for each count, and how it is known."""
    columns = [_plan_one(rates, prices, count) for count in counts]
    return [
        {"figure": name, **{f"{count:.0e}": column[name][0] for count, column in zip(counts, columns, strict=True)}}
        | {"known": columns[0][name][1]}
        for name in columns[0]
    ]


def _plan_one(rates: MeasuredRates, prices: Prices, count: int) -> dict[str, tuple[float, str]]:
    grown = count / rates.rows
    # All of a build is taken for looking up lists, which is the part that grows faster than the vectors.
    build = rates.build * grown * choose_lists(count) / choose_lists(rates.rows)
    codes = count * (max(RABITQ_BITS, rates.width) / 8 + 16)
    sample = 2 * 4 * rates.width * PER_LIST * choose_lists(count)
    disk = rates.size * grown
    encode_cores, encode_gpus = rates.picture * count / 3600, count / prices.gpu_pictures / 3600
    machines = max(1, ceil(codes / 1e9 / _MEMORY))
    price = encode_gpus * prices.gpu_hour + build / 3600 * prices.core_hour
    return {
        "encode, core hours": (encode_cores, f"{_COMPUTED} ({rates.picture * 1e3:.0f} ms a picture {_MEASURED})"),
        "encode, GPU hours": (encode_gpus, f"{_ASSUMED} ({prices.gpu_pictures:g} pictures a second)"),
        "build, core hours": (build / 3600, f"{_COMPUTED} ({rates.build:.0f} s at {rates.rows:.0e} {_MEASURED})"),
        f"build, hours on {_CORES} cores": (build / 3600 / _CORES, f"{_COMPUTED}; that cores add up is {_ASSUMED}"),
        "disk, GB": (disk / 1e9, f"{_COMPUTED} ({rates.size / rates.rows:.0f} bytes a vector {_MEASURED})"),
        "memory to build, GB": ((codes + sample) / 1e9, f"{_COMPUTED} (codes and sample)"),
        "memory that holds all codes, GB": (codes / 1e9, f"{_COMPUTED} (width / 8 + 16 bytes)"),
        f"machines of {_MEMORY} GB to search": (machines, f"{_COMPUTED} from codes; the machine is {_ASSUMED}"),
        "queries a second and core": (
            rates.answers / sqrt(max(grown, 1e-9)),
            f"{_COMPUTED} ({rates.answers:.0f} at {rates.rows:.0e} {_MEASURED}; by the root of the number)",
        ),
        "price of vectors and index": (price, f"{_COMPUTED}; {prices.gpu_hour:g} a GPU hour {_ASSUMED}"),
        "price of the disk a month": (disk / 1e9 * prices.gigabyte_month, f"{prices.gigabyte_month:g} a GB {_ASSUMED}"),
    }
