"""Each parser of foreign bytes, with a small example of what it reads."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from factories import encode_picture, make_denoiser_config, make_encoder_manifest, make_random_denoiser
from safetensors.torch import save_file

from compodiff.behaviour.cases import read_cases
from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.datasets.pictures import list_tar_members
from compodiff.benchmarks.scoring.vectors import load_embeddings
from compodiff.captions.caption_sets import read_captions
from compodiff.drift.reservoir import QueryReservoir
from compodiff.encoders import load_encoder
from compodiff.encoders.manifest import EncoderManifest
from compodiff.images.decoding import decode, read_size
from compodiff.index.filters import Filters
from compodiff.index.index import Index, build
from compodiff.index.own_columns import OwnColumns
from compodiff.index.segments.sources import list_shards, sample_vectors
from compodiff.model.checkpoint import ModelCard, load_model, read_tensors, save_model
from compodiff.model.sampling.process import Process
from compodiff.pairs.caption_file import open_pair_writer, read_caption_pairs
from compodiff.pairs.pair import CaptionPair
from compodiff.params import IndexParams, load_params
from compodiff.released.torch_file import read_torch_file
from compodiff.serving.form import SearchForm, Uploads, encode_cells, encode_embedding, make_query
from compodiff.sets import open_set
from compodiff.signing.chain import list_parts, read_origin, require_intact, sign_folder, write_chain
from worlds.foreign import BLUE, GREEN, RED, bring, downloaded, write_lines, write_parquet, write_tar
from worlds.fuzzing import OUT, Parser

ROOT = Path(__file__).parents[2]
_PIXELS = 1_000_000
_TRIPLET = {"reference.jpg": RED, "target.jpg": BLUE, "json": json.dumps({"relative_caption": "make it blue"}).encode()}


def _make_pictures(folder: Path) -> None:
    for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        (folder / f"picture.{form.lower()}").write_bytes(encode_picture("red", form))


def _read_pictures(folder: Path) -> None:
    for path in sorted(folder.glob("picture.*")):
        read_size(path.read_bytes())
        decode(path.read_bytes(), _PIXELS)


def _make_triplet_tar(folder: Path) -> None:
    write_tar(folder / "0.tar", {f"{key}.{name}": content for key in "ab" for name, content in _TRIPLET.items()})


def _make_downloaded(folder: Path) -> None:
    entries = downloaded("0", RED, "a cat") | downloaded("1", BLUE, "a dog") | downloaded("2", None, "a fish")
    write_tar(folder / "0.tar", entries)


def _make_table(folder: Path) -> None:
    columns = {"reference": [RED, GREEN], "target": [BLUE, RED], "relative_caption": ["make it blue", "in red"]}
    write_parquet(folder / "0.parquet", columns)


def _make_list(folder: Path) -> None:
    for name, content in (("red", RED), ("blue", BLUE)):
        (folder / f"{name}.jpg").write_bytes(content)
    row = {"reference": "red.jpg", "target": "blue.jpg", "relative_caption": "make it blue"}
    write_lines(folder / "list.jsonl", [row, row | {"negative": "green"}])
    (folder / "list.json").write_text(json.dumps([row]))


def _import(form: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        found, _ = bring(folder, form, folder / OUT, skip_faulty=True, **_options(form, folder))
        return list(found.iterate_rows())

    return read


def _options(form: str, folder: Path) -> dict[str, object]:
    return {"pictures": folder} if form == "manifest" else {}


def _make_set(folder: Path) -> None:
    source = folder / "source"
    source.mkdir()
    _make_table(source)
    bring(source, "parquet", folder / "set")
    shutil.rmtree(source)


def _read_set(folder: Path) -> object:
    return list(open_set(folder / "set").iterate_rows())


def _make_captions(folder: Path) -> None:
    write_lines(folder / "a.jsonl", [{"caption": "a red cat"}, {"caption": "a dog on a mat"}])
    (folder / "b.txt").write_text("a house\na blue car\n")
    write_parquet(folder / "c.parquet", {"caption": ["a tree", "two birds"]})
    write_tar(folder / "d.tar", {"0.txt": b"a boat", "1.json": b'{"caption": "a bus"}'})


def _make_pairs(folder: Path) -> None:
    said = ("a red cat", "a blue cat", "make it blue", "colour", "blue")
    with open_pair_writer(folder / "pairs.parquet", "pair") as writer:
        for name in "ab":
            writer.add(CaptionPair(writer.make_key(), "train", f"{name}.png", f"{name}-blue.png", *said))


def _make_index(folder: Path) -> None:
    rng = np.random.default_rng(5)
    names = [f"p{number}.png" for number in range(12)]
    pictures = pd.DataFrame({"picture_id": names, "name": names, "size": range(12)})
    pictures["group"] = -1
    params = load_params(ROOT / "params.yaml").index
    manifest = make_encoder_manifest(embedding_dim=8)
    _build(folder / "index", rng.standard_normal((12, 8)).astype(np.float32), pictures, manifest, params)


def _build(
    folder: Path, vectors: np.ndarray, table: pd.DataFrame, encoder: EncoderManifest, params: IndexParams
) -> None:
    build(folder, embeddings=vectors, pictures=table, encoder=encoder, params=params, pictures_root="pictures")


def _read_index(folder: Path) -> object:
    index = Index.load(folder / "index")
    return Filters(index.pictures).find_rows("size > 3"), index.read_embedding(index.picture_ids[0])


def _make_model(folder: Path) -> None:
    config = make_denoiser_config()
    card = ModelCard(config, Process("diffusion", 1000), make_encoder_manifest().to_json(), {})
    save_model(folder / "model", make_random_denoiser(config).state_dict(), card)


def _make_encoder_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps(make_encoder_manifest().to_json()))


def _make_columns(folder: Path) -> None:
    table = pd.DataFrame({"file": ["a.png", "b.png"], "price": [1.5, 2.0], "day": ["2024-01-01", "x"]})
    table.to_csv(folder / "columns.csv", index=False)
    table.to_parquet(folder / "columns.parquet")


def _make_filters(folder: Path) -> None:
    conditions = (
        "folder = 'summer' and size > 100000",
        "lower(name) like '%cat%' or year(day) in (2023, 2024)",
        "case when size between 1 and 5 then true else contains(name, 'x') end",
        "regexp_matches(name, '(a|b)+')",
    )
    for number, condition in enumerate(conditions):
        (folder / f"{number}.sql").write_text(condition)


def _read_filters(folder: Path) -> None:
    table = pd.DataFrame({"name": ["cat", "dog"], "folder": ["summer", ""], "size": [1, 200000]})
    table["day"] = pd.to_datetime(["2024-01-01", "2023-05-05"])
    for path in sorted(folder.glob("*.sql")):
        Filters(table).find_rows(path.read_text(errors="replace"))


def _make_form(folder: Path) -> None:
    (folder / "mask.png").write_bytes(encode_picture("white"))
    (folder / "reference.jpg").write_bytes(RED)
    (folder / "cells").write_text(encode_cells(np.eye(64, dtype=np.bool_)))
    (folder / "embedding").write_text(encode_embedding(np.ones(8, np.float32)))


def _read_form(folder: Path) -> None:
    cells, embedding = ((folder / name).read_text(errors="replace") for name in ("cells", "embedding"))
    given = [(SearchForm.model_construct(reference_embedding=[embedding], mask_cells=cells), Uploads([], None))]
    uploads = Uploads([(folder / "reference.jpg").read_bytes()], (folder / "mask.png").read_bytes())
    given.append((SearchForm.model_construct(), uploads))
    for form, files in given:
        make_query(form, files, _PIXELS)


def _make_queries(folder: Path) -> None:
    row = {"reference": "a", "target": "b", "relative_caption": "in red", "negatives": ["c"]}
    write_lines(folder / "queries.test.jsonl", [row, row | {"references": ["c"], "target": "d"}])


def _make_tensors(folder: Path) -> None:
    save_file({"a": torch.ones(3, 4), "b": torch.zeros(2, dtype=torch.int64)}, folder / "model.safetensors")
    torch.save({"a": torch.ones(3, 4)}, folder / "model.bin")


def _read_tensors(folder: Path) -> None:
    read_tensors(folder / "model.safetensors")


def _make_vectors(folder: Path) -> None:
    embeddings = np.random.default_rng(5).standard_normal((3, 8)).astype(np.float32)
    np.savez(folder / "G.npz", ids=np.array(["a", "b", "c"]), embeddings=embeddings, pair=np.array("1"))
    np.savez_compressed(folder / "Q.npz", embeddings=embeddings, places=np.arange(3))


def _make_shards(folder: Path) -> None:
    vectors = np.random.default_rng(5).standard_normal((12, 8)).astype(np.float16)
    for place, form in enumerate(((1, 0), (2, 0))):
        with (folder / f"{place}.npy").open("wb") as file:
            np.lib.format.write_array(file, vectors, form)
        pd.DataFrame({"picture_id": [f"{place}-{row}" for row in range(12)]}).to_parquet(folder / f"{place}.parquet")


def _make_cases(folder: Path) -> None:
    cases = (
        "{name: a red one, kind: minimum, reference: r, text: in red, finds: f, k: 3}",
        "{name: b, kind: invariance, reference: r, texts: [in red, make it red], k: 10, overlap: 0.5}",
        "{name: c, kind: direction, reference: r, text: in red, towards: f}",
    )
    (folder / "behaviour.yaml").write_text("".join(f"- {case}\n" for case in cases))


def _make_kept_queries(folder: Path) -> None:
    kept = QueryReservoir(folder / "kept.npz", seed=5)
    for place in range(3):
        answer = np.full(8, place, np.float32)
        kept.note("1", answer, answer if place else None, liked=place, disliked=0)
    kept.save()


def _make_chain(folder: Path) -> None:
    for name in ("composed/model.safetensors", "encoder/manifest.json", "index/index.faiss"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(name.encode())
    write_chain(folder, list_parts(folder), {"trained_in": "00-a-b-01", "stages": {"train": {"read": {"data": "1"}}}})


def _read_chain(folder: Path) -> None:
    read_origin(folder)
    sign_folder(Path(shutil.copytree(folder, folder / OUT)))
    require_intact(folder)


PARSERS = {
    "pictures": Parser(_make_pictures, _read_pictures),
    "tar of triplets": Parser(_make_triplet_tar, _import("webdataset")),
    "tar of img2dataset": Parser(_make_downloaded, _import("img2dataset")),
    "tar as a gallery": Parser(_make_downloaded, lambda folder: list_tar_members(folder / "0.tar")),
    "parquet": Parser(_make_table, _import("parquet")),
    "lists": Parser(_make_list, _import("manifest"), ("list.*",)),
    "set": Parser(_make_set, _read_set),
    "captions": Parser(_make_captions, lambda folder: list(read_captions(folder))),
    "pairs": Parser(_make_pairs, lambda folder: list(read_caption_pairs(folder / "pairs.parquet"))),
    "index": Parser(_make_index, _read_index),
    "vectors": Parser(
        _make_vectors, lambda folder: load_embeddings(folder / "G.npz", folder / "Q.npz", lambda name: name)
    ),
    "shards of vectors": Parser(
        _make_shards, lambda folder: sample_vectors(list_shards(folder, 8, "picture_id"), 20, 5), ("*.npy",)
    ),
    "model": Parser(_make_model, lambda folder: load_model(folder / "model"), ("*.safetensors", "config.json")),
    "safetensors": Parser(_make_tensors, _read_tensors, ("*.safetensors",)),
    "torch file": Parser(_make_tensors, lambda folder: read_torch_file(folder / "model.bin"), ("*.bin",)),
    "encoder manifest": Parser(_make_encoder_manifest, load_encoder),
    "columns of one's own": Parser(
        _make_columns, lambda folder: [OwnColumns.read(path) for path in sorted(folder.glob("columns.*"))]
    ),
    "filters": Parser(_make_filters, _read_filters),
    "search form": Parser(_make_form, _read_form),
    "queries": Parser(_make_queries, lambda folder: load_triplets(folder, "test")),
    "params.yaml": Parser(
        lambda folder: Path(shutil.copy(ROOT / "params.yaml", folder)).touch(),
        lambda folder: load_params(folder / "params.yaml"),
    ),
    "behaviour.yaml": Parser(_make_cases, lambda folder: read_cases(folder / "behaviour.yaml")),
    "kept queries": Parser(_make_kept_queries, lambda folder: QueryReservoir(folder / "kept.npz")),
    "chain.json": Parser(_make_chain, _read_chain, ("chain.json",)),
}
