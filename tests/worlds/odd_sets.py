"""What tables, lines of queries and tars can hold besides good rows: every odd entry, each with a name of its own."""

import io
import json
import os
import tarfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FIRST = "path,stars\ngood0.png,1\n"
CSVS = {
    "empty": b"",
    "only a head": b"path,stars\n",
    "mark": b"\xef\xbb\xbf" + FIRST.encode(),
    "utf-16": FIRST.encode("utf-16"),
    "latin-1": "path,n\ngood0.png,caf\xe9\n".encode("latin-1"),
    "nul": b"path,n\ngood0.png,\0\n",
    "beyond 64 bits": b"path,n\ngood0.png,99999999999999999999999\ngood1.png,1\n",
    "below 64 bits": b"path,n\ngood0.png,-99999999999999999999999\n",
    "unsigned": b"path,n\ngood0.png,18446744073709551615\n",
    "mixed": b"path,n\ngood0.png,99999999999999999999999\ngood1.png,x\ngood2.png,1.5\n",
    "1e400": b"path,n\ngood0.png,1e400\n",
    "nan keys": b"path,n\n,1\n,2\ngood0.png,3\n",
    "twice": b"path,n\ngood0.png,1\ngood0.png,2\n",
    "columns twice": b"path,n,n\ngood0.png,1,2\n",
    "case": b"path,Width,HEIGHT\ngood0.png,1,2\n",
    "cases": b"path,n,N\ngood0.png,1,2\n",
    "keys of other case": b"PATH,n\ngood0.png,1\n",
    "meets none": b"path,n\naway.png,1\n",
    "ragged": b"path,n\ngood0.png,1,2,3\n",
    "one column": b"path\ngood0.png\n",
    "no key": b"a,b\n1,2\n",
    "quote": b'path,n\n"good0.png,1\n',
    "dates": b"path,n\ngood0.png,9999-99-99\n",
    "names": b'path,"a b","[x]","\x1b[31m",""\ngood0.png,1,2,3,4\n',
    "numbers as keys": b"path,n\n1,2\n",
    "html": b"<html>\n<p>,\n",
}
KEYS = ["good0.png", "good1.png"]
TABLES = {
    "decimals": pa.table({"path": KEYS, "n": pa.array([10**30, 1], pa.decimal128(38))}),
    "lists": pa.table({"path": KEYS, "n": [[1], [2, 3]]}),
    "structs": pa.table({"path": KEYS, "n": [{"a": 1}, {"a": 2}]}),
    "bytes": pa.table({"path": KEYS, "n": [b"\xff", b""]}),
    "far dates": pa.table({"path": KEYS, "n": pa.array([2**62, -(2**62)], pa.timestamp("us"))}),
    "unsigned": pa.table({"path": KEYS, "n": pa.array([2**64 - 1, 0], pa.uint64())}),
    "twice": pa.Table.from_arrays([pa.array(KEYS), pa.array([1, 2]), pa.array([1, 2])], names=["path", "n", "n"]),
    "nulls": pa.table({"path": pa.array([None, None], pa.string()), "n": pa.nulls(2)}),
    "dictionary": pa.table({"path": pa.array(KEYS).dictionary_encode(), "n": pa.array(["a", "a"]).dictionary_encode()}),
    "bytes as keys": pa.table({"path": [b"good0.png", b"\xff"], "n": [1, 2]}),
}


def write_odd_tables(folder: Path) -> list[Path]:
    """Tables for --columns over good0.png ... good2.png."""
    folder.mkdir()
    paths = []
    for name, content in CSVS.items():
        paths.append(folder / f"{name}.csv")
        paths[-1].write_bytes(content)
    for name, table in TABLES.items():
        paths.append(folder / f"{name}.parquet")
        pq.write_table(table, paths[-1])
    whole = paths[-1].read_bytes()
    for name, content in (
        ("cut", whole[:-9]),
        ("no bytes", b""),
        ("text", b"path,n\n"),
        ("flipped", whole[:40] + b"\xff" * 9 + whole[49:]),
    ):
        paths.append(folder / f"{name}.parquet")
        paths[-1].write_bytes(content)
    pd.DataFrame({0: KEYS, 1: [1, 2]}).rename(columns={0: "path"}).to_csv(folder / "frame.csv")
    (folder / "folder.csv").mkdir()
    return [*paths, folder / "frame.csv", folder / "folder.csv", folder / "away.csv", folder / ("z" * 300)]


def odd_lines() -> dict[str, bytes]:
    """Contents of queries.jsonl."""
    asked = {"reference": "good0", "relative_caption": "x", "target": "good1"}
    changed: dict[str, dict[str, object]] = {
        "number as reference": {"reference": 10**30},
        "list as target": {"target": []},
        "no targets": {"targets": []},
        "targets of numbers": {"targets": [1]},
        "null": {"relative_caption": None},
        "itself": {"target": "good0"},
        "away": {"target": "nowhere"},
        "long": {"reference": "x" * 5000},
        "up": {"reference": "../../etc/passwd"},
        "nul": {"reference": "a\0b"},
        "half a pair": {"relative_caption": "\ud800"},
        "mask away": {"mask": "away.png"},
        "mask up": {"mask": "/dev/zero"},
        "odd ends": {"relative_caption": "a\u2028b\u0085c"},
        "braces": {"relative_caption": "{0} {x}"},
    }
    lines = {name: json.dumps(asked | change).encode() for name, change in changed.items()}
    good = json.dumps(asked).encode()
    return lines | {
        "empty": b"",
        "blank": b"\n\n \n",
        "mark": b"\xef\xbb\xbf" + good,
        "utf-16": good.decode().encode("utf-16"),
        "cut": good[:-5],
        "array": b"[" + good + b"]",
        "deep": b"[" * 99_999,
        "digits": b'{"a": ' + b"9" * 5000 + b"}",
        "nan": b"NaN",
        "nul": b"\0\0",
        "crlf": good + b"\r\n" + good.replace(b"good1", b"good2") + b"\r\n",
        "twice": good + b"\n" + good,
        "latin": b'{"a": "\xe9"}',
    }


def write_odd_tars(folder: Path) -> int:
    """Tars for imports and galleries."""
    folder.mkdir()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind in (("dev.png", tarfile.CHRTYPE), ("ln.png", tarfile.SYMTYPE), ("f.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        for name in ("../up.png", "/root.png", "a" * 300 + ".png", "k.json", "k.reference.png", "new\nline.png"):
            content = b"[]" if name == "k.json" else b"no picture"
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    whole = stream.getvalue()
    huge = bytearray(whole)
    huge[124:136] = b"77777777777\0"
    contents = {
        "members": whole,
        "cut": whole[:1500],
        "no bytes": b"",
        "zeros": bytes(10240),
        "text": b"no tar" * 99,
        "size": bytes(huge),
    }
    contents["gzip"] = b"\x1f\x8b\x08" + bytes(50)
    for name, content in contents.items():
        (folder / f"{name}.tar").write_bytes(content)
    os.mkfifo(folder / "pipe.tar")
    (folder / "folder.tar").mkdir()
    return len(contents) + 2
