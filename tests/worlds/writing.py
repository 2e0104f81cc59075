"""Every command that writes, with inputs that it accepts; and places where something of somebody's lies.

`RECIPES` names for each command of the command line the arguments of a run that ends well, without its outputs, or why
it writes nothing at a place of a person's choice. A command that is missing here fails the test that walks the tree.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from factories import encode_picture

from compodiff.captions.language_model import save_language_model
from compodiff.encoders import Encoder
from compodiff.interchange.exporting import export_set
from compodiff.model.checkpoint import ModelCard, save_model
from compodiff.model.network.denoiser import RELEASED, Denoiser
from compodiff.model.sampling.process import Process
from compodiff.released.conversion import export_released
from compodiff.sets import TRIPLETS, finish_set, open_shard
from compodiff.storage.atomic import write_json
from worlds.benchmark import drawn, make_models
from worlds.captions import ANIMALS, PLACES, tiny_model, tiny_tokenizer
from worlds.tiny_networks import clipseg

ROOT = Path(__file__).parents[2]
MODEL = ("--model", "{root}/artifacts")
RECIPES: Mapping[str, tuple[str, ...] | str] = {
    "search": ("--text", "red", "--index", "{root}/indexed", *MODEL),
    "index build": ("{root}/pictures", *MODEL),
    "index add": ("{root}/pictures", "{root}/pictures/red.png", *MODEL),
    "index from-embeddings": ("{root}/vectors", *MODEL),
    "index near-duplicates": ("{root}/indexed",),
    "index to-engine": "it writes to the engine",
    "index remove": "it writes where an index of the same folder stands already",
    "index status": "it only reads",
    "benchmark run": ("triplets", "--root", "{root}/artifacts/benchmark", *MODEL, "--no-track"),
    "benchmark score": "it only reads",
    "benchmark embed": ("triplets", "--root", "{root}/artifacts/benchmark", *MODEL),
    "benchmark submit": (
        "cirr",
        "--root",
        "{root}/cirr",
        "--split",
        "val",
        "--gallery",
        "{root}/cirr/gallery.npz",
        "--queries",
        "{root}/cirr/queries.npz",
    ),
    "benchmark check-submission": "it only reads",
    "benchmark doctor": "it only reads",
    "captions keywords": ("{root}/captions.txt", "--seed", "3"),
    "captions fine-tune": ("{root}/edits.jsonl", "--model", "{root}/opt"),
    "captions write": ("{root}/captions.txt", "--model", "{root}/opt", "-n", "1"),
    "dataset clean": ("{root}/triplets",),
    "dataset mask": ("{root}/triplets", "--clipseg", "{root}/clipseg"),
    "dataset plots": ("{root}/triplets",),
    "inspect": ("{root}/triplets",),
    "card": ("{root}/triplets",),
    "export": ("{root}/triplets",),
    "import": ("{root}/exported",),
    "adapt": "its folder is claimed before anything is made: tests/integration/test_adapt.py",
    "finetune": "its folder is claimed before anything is trained: tests/integration/test_finetuning.py",
    "bench data": "it prints",
    "convert": ("{root}/released",),
    "experiment": ("draws", "--no-track", "--benchmark", "triplets", "--root", "{root}/artifacts/benchmark"),
    "compare": "its folder is claimed before anything is trained: tests/integration/test_compare.py",
    "get": "its folder is claimed before anything is fetched: tests/integration/test_released_refusals.py",
    "push": "it writes to the hub",
    "run": "it writes where params and dvc.yaml say",
    "init": "it writes only into a folder that holds nothing (tests/unit/stages/test_beginning.py)",
    "data": "it writes data/ of the project",
    "doctor": "it prints",
    "serve": "it writes the index of a folder, as `index build` does",
    "demo": "it writes to the home, and replaces only what it wrote: tests/unit/serving/test_demonstration.py",
    "promote": "it writes to MLflow",
    "register": "it writes to MLflow",
    "rollback": "it writes to MLflow",
    "versions": "its page is claimed before anything is compared: tests/unit/inspection",
    "behaviour": "it prints",
    "sign": "it writes chain.json into a model's folder, and refuses another's: tests/unit/signing/test_model_chain.py",
    "drift": "its folder is claimed before anything is read: tests/unit/drift/test_drift.py",
    "bench index": "its folder is claimed before anything is made: tests/unit/speed",
    "bench gpu": ("--device", "cpu", "--only", "sampling"),
    "bench exact": "it prints",
    "bench scale": "it prints",
    "bench denoiser": "it prints",
    "bench training": "it prints",
    "bench serve": "it prints",
    "bench synthesis": "it prints",
}


def make_world(root: Path, encoder: Encoder) -> Path:
    """A project at `root` with an input for every command."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["captions"]["keywords"] |= {"min_similarity": -1.0, "max_similarity": 1.0, "min_count": 2}
    params["captions"]["language_model"] |= {"epochs": 1, "batch_size": 4, "max_tokens": 120}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    make_models(root / "artifacts", encoder)
    for name in ("pictures", "indexed"):
        (root / name).mkdir()
        for colour in ("red", "green", "blue"):
            drawn("disc", colour).save(root / name / f"{colour}.png")
    (root / "vectors").mkdir()
    np.save(root / "vectors" / "x.npy", np.eye(3, encoder.manifest.embedding_dim, dtype=np.float32))
    _write_triplets(root / "triplets")
    export_set(str(root / "triplets"), "webdataset", root / "exported")
    _write_cirr(root / "cirr")
    _write_released(root)
    (root / "captions.txt").write_text("\n".join(f"a {one} {place}" for one in ANIMALS for place in PLACES))
    edits = [f'{{"input": "a {one}", "edit": "a cow", "output": "a cow"}}' for one in ANIMALS]
    (root / "edits.jsonl").write_text("\n".join(edits))
    tokenizer = tiny_tokenizer()
    save_language_model(tiny_model(tokenizer), tokenizer, root / "opt")
    clipseg(root / "clipseg")
    return root


def _write_released(root: Path) -> None:
    shape = replace(RELEASED, embedding_dim=16, token_dims=(16,), width=16, depth=1, heads=2, head_width=8)
    denoiser = Denoiser(shape)
    denoiser.constants.embedding_mean.zero_()
    denoiser.constants.embedding_std.fill_(1)
    save_model(root / "plain", denoiser.state_dict(), ModelCard(shape, Process("diffusion", 50)))
    export_released(root / "plain", root / "released")


def _write_triplets(folder: Path) -> None:
    """A set of one shard with its own pictures."""
    texts = {"reference_caption": "a red disc", "target_caption": "a blue disc", "relative_captions": ["make it blue"]}
    with open_shard(folder, "train", 0, TRIPLETS) as shard:
        for number in range(2):
            ends = {
                end: shard.store_picture(f"{colour}-{number}", _png(colour, number))
                for end, colour in (("reference", "red"), ("target", "blue"))
            }
            said = {"key": f"train-{number}", "relation": "colour", "keyword": "blue", "mask": None, "negatives": []}
            shard.add(said | ends | texts)
    finish_set(folder, TRIPLETS, licence="none", source="drawn for a test")


def _png(colour: str, number: int) -> bytes:
    return encode_picture(drawn(("disc", "bar")[number], colour).convert("RGB"))


def _write_cirr(root: Path) -> None:
    """CIRR as its server wants it: at least 50 pictures, one query."""
    names = [f"dev-{number}-0-img0" for number in range(60)]
    query = {"pairid": 1, "reference": names[0], "target_hard": names[1], "target_soft": {names[1]: 1.0}}
    told = {"caption": "the same again", "img_set": {"id": 1, "members": names[:6]}}
    write_json(root / "captions/cap.rc2.val.json", [query | told])
    write_json(root / "image_splits/split.rc2.val.json", {name: f"./dev/{name}.png" for name in names})
    vectors = np.random.default_rng(1).normal(size=(len(names), 4)).astype(np.float32)
    np.savez(root / "gallery.npz", ids=np.array(names), embeddings=vectors)
    np.savez(root / "queries.npz", embeddings=vectors[:1])


Snapshot = dict[str, bytes]


def snapshot(root: Path) -> Snapshot:
    """Everything below `root`: kind and content."""
    found = {}
    for folder, below, files in os.walk(root):
        for name in (*below, *files):
            path = Path(folder, name)
            if path.is_symlink():
                found[str(path)] = b"link to " + os.readlink(path).encode()
            elif path.is_file():
                found[str(path)] = path.read_bytes()
            else:
                found[str(path)] = b"folder" if path.is_dir() else b"special"
    return found
