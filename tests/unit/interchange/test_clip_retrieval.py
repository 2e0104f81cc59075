"""Folders of clip-retrieval: embeddings are referred to where they lie, and only of the encoder that made them."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import draw_noise, make_embedding_params, make_encoder_manifest
from worlds.foreign import bring, rows_of

from compodiff.embeddings import SetEmbeddings, embed_set
from compodiff.embeddings.set_arrays import MISSING, READ
from compodiff.errors import EncoderMismatch, InputInvalid
from compodiff.interchange.exporting import export_set
from compodiff.sets import Place, open_set
from compodiff.storage.atomic import write_json

CAPTIONS = ["a red disc", "a blue disc", "two dogs on a beach", "a cat"]


def embed(encoder):
    """Picture and text embeddings of unit length in float16, as clip-retrieval writes them."""
    pictures = encoder.encode_images([draw_noise(seed) for seed in range(4)], 4)
    texts = encoder.encode_texts(CAPTIONS).pooled
    return [(each / each.norm(dim=-1, keepdim=True)).numpy().astype(np.float16) for each in (pictures, texts)]


def write_part(folder, number, pictures, texts, captions, keys=()):
    """As clip_retrieval/clip_inference/writer.py does, metadata with what img2dataset says of each picture."""
    for kind, array in (("img_emb", pictures), ("text_emb", texts)):
        if array is not None:
            (folder / kind).mkdir(parents=True, exist_ok=True)
            stream = io.BytesIO()
            np.save(stream, array)
            (folder / kind / f"{kind}_{number}.npy").write_bytes(stream.getbuffer())
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    own = {"key": list(keys)} if keys else {}
    names = [f"laion/{number}{row}.jpg" for row in range(len(captions))]
    table = pa.table({"image_path": names, "caption": captions, **own, "status": ["success"] * len(captions)})
    pq.write_table(table, folder / "metadata" / f"metadata_{number}.parquet")


@pytest.fixture
def folder(tmp_path, tiny_encoder):
    """Two parts of two rows each."""
    pictures, texts = embed(tiny_encoder)
    for number, rows in enumerate((slice(0, 2), slice(2, 4))):
        keys = ["000000000", "000000001"] if not number else ["000010000", "000010001"]
        write_part(tmp_path / "laion", number, pictures[rows], texts[rows], CAPTIONS[rows], keys)
    return tmp_path / "laion"


def test_rows_refer_to_their_embeddings_and_embed_takes_them_as_they_are(
    folder, tmp_path, tiny_encoder, encoder_folder, monkeypatch
):
    found, tally = bring(folder, "clip-retrieval", tmp_path / "set", encoder=str(encoder_folder))
    rows = rows_of(found)
    assert [(row["key"], row["texts"]) for row in rows] == [
        ("000000000", [CAPTIONS[0]]),
        ("000000001", [CAPTIONS[1]]),
        ("000010000", [CAPTIONS[2]]),
        ("000010001", [CAPTIONS[3]]),
    ]
    assert rows[3]["picture"]["file"] == str(folder / "img_emb" / "img_emb_1.npy")
    assert (found.description.kind, found.description.vectors.width, tally.notes) == ("pairs", 16, {})
    pictures, texts = embed(tiny_encoder)
    read = [np.frombuffer(found.places.read(Place.of(row["picture"])), np.float16) for row in rows]
    np.testing.assert_array_equal(read, pictures)
    monkeypatch.setattr(type(tiny_encoder), "preprocess", lambda *_: pytest.fail("a picture was looked at"))
    embed_set(tmp_path / "laion-embedded", tmp_path / "set", encoder_folder, make_embedding_params())
    arrays = SetEmbeddings.load(tmp_path / "laion-embedded")
    np.testing.assert_array_equal(arrays.images, pictures)
    assert len(np.unique(arrays.open_array("digests"), axis=0)) == 4
    assert (arrays.open_array("states") == READ).all()
    assert [len(arrays.open_array(name)) for name in ("text_to_image", "masked", "triplet")] == [4, 0, 0]
    own = np.asarray(arrays.texts_pooled[1:], np.float32)
    cosines = np.sum(own / np.linalg.norm(own, axis=1, keepdims=True) * texts, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=2e-3)


def test_embeddings_get_a_length_where_one_is_named(folder, tmp_path, tiny_encoder, encoder_folder):
    bring(folder, "clip-retrieval", tmp_path / "set", encoder=str(encoder_folder), length=9.5)
    embed_set(tmp_path / "out", tmp_path / "set", encoder_folder, make_embedding_params())
    images = np.asarray(SetEmbeddings.load(tmp_path / "out").images, np.float32)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 9.5, rtol=1e-3)
    pictures, _ = embed(tiny_encoder)
    np.testing.assert_allclose(images / 9.5, pictures, atol=2e-3)


def test_embeddings_at_an_address_and_without_texts_are_read(folder, tmp_path, bucket, encoder_folder, tiny_encoder):
    import s3fs

    from compodiff.sets.addresses import as_path

    for path in (path for path in folder.rglob("*") if path.is_file() and "text_emb" not in path.name):
        bucket.upload_file(str(path), "sets", f"laion/{path.relative_to(folder).as_posix()}")
    s3fs.S3FileSystem.clear_instance_cache()
    bring(as_path("s3://sets/laion"), "clip-retrieval", tmp_path / "set", encoder=str(encoder_folder))
    embed_set(tmp_path / "out", tmp_path / "set", encoder_folder, make_embedding_params())
    np.testing.assert_array_equal(SetEmbeddings.load(tmp_path / "out").images, embed(tiny_encoder)[0])


def test_what_another_encoder_made_is_refused(folder, tmp_path, tiny_encoder, encoder_folder):
    with pytest.raises(InputInvalid, match=r"laion does not say which encoder made its embeddings; .*--encoder FOLDER"):
        bring(folder, "clip-retrieval", tmp_path / "set")
    for number in range(2):  # of the same width
        noise = np.random.default_rng(number).normal(size=(2, 16)).astype(np.float16)
        np.save(folder / "text_emb" / f"text_emb_{number}.npy", noise)
    with pytest.raises(EncoderMismatch, match=r"did not make the embeddings of .*laion: .*captions otherwise"):
        bring(folder, "clip-retrieval", tmp_path / "set", encoder=str(encoder_folder))
    write_part(tmp_path / "wide", 0, np.ones((4, 24), np.float16), None, CAPTIONS)
    with pytest.raises(EncoderMismatch, match=r"img_emb holds embeddings of width 24, and .* makes 16; name the encod"):
        bring(tmp_path / "wide", "clip-retrieval", tmp_path / "set", encoder=str(encoder_folder))
    assert not (tmp_path / "set").exists()


def test_embed_with_another_encoder_than_was_named_is_refused(folder, tmp_path, encoder_folder):
    bring(folder, "clip-retrieval", tmp_path / "set", encoder=str(encoder_folder))
    other = make_encoder_manifest(embedding_dim=16).to_json()
    (tmp_path / "other").mkdir()
    write_json(tmp_path / "other" / "manifest.json", other)
    with pytest.raises(EncoderMismatch, match=r"the set out, whose pictures are embedded already, was made with an "):
        embed_set(tmp_path / "out", tmp_path / "set", tmp_path / "other", make_embedding_params())


def test_faulty_parts_are_named_or_left_out(folder, tmp_path, encoder_folder):
    options = {"encoder": str(encoder_folder)}
    path = folder / "img_emb" / "img_emb_1.npy"
    whole = path.read_bytes()
    for number, (content, message) in enumerate(
        (
            (whole[:-2], r"img_emb_1\.npy is cut short; fetch it again"),
            (b"<html>", r"img_emb_1\.npy is missing or damaged .*; fetch it again"),
            (None, r"img_emb_1\.npy is not there"),
        )
    ):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputInvalid, match=rf"{message}.*; leave such out: --skip-faulty"):
            bring(folder, "clip-retrieval", tmp_path / f"cut{number}", **options)
    for number, (array, message) in enumerate(
        (
            (np.ones((3, 16), np.float16), r"img_emb_1\.npy has 3 rows and .*metadata_1\.parquet has 2"),
            (np.ones((2, 16), np.float64), r"img_emb_1\.npy holds float64 of the shape \(2, 16\), not rows of float16"),
            (np.ones((2, 16), np.float32), r"img_emb_1\.npy has rows of 16 x <f4, not 16 x <f2 as the first array"),
        )
    ):
        np.save(path, array)
        with pytest.raises(InputInvalid, match=rf"{message}.*; leave such out: --skip-faulty"):
            bring(folder, "clip-retrieval", tmp_path / f"odd{number}", **options)
    found, tally = bring(folder, "clip-retrieval", tmp_path / "rest", skip_faulty=True, **options)
    assert [row["key"] for row in rows_of(found)] == ["000000000", "000000001"]
    assert tally.notes == {"damaged_file": 1}


def test_embeddings_that_went_since_are_marked_as_missing(folder, tmp_path, encoder_folder):
    bring(folder, "clip-retrieval", tmp_path / "set", encoder=str(encoder_folder))
    path = folder / "img_emb" / "img_emb_1.npy"
    path.write_bytes(path.read_bytes()[:-2])
    embed_set(tmp_path / "out", tmp_path / "set", encoder_folder, make_embedding_params())
    assert SetEmbeddings.load(tmp_path / "out").open_array("states").tolist() == [READ] * 3 + [MISSING]


def test_what_looks_at_pictures_refuses_embeddings_in_one_line(folder, tmp_path, encoder_folder):
    bring(folder, "clip-retrieval", tmp_path / "set", encoder=str(encoder_folder))
    assert json.loads((tmp_path / "set" / "set.json").read_text())["vectors"]["dtype"] == "<f2"
    assert open_set(tmp_path / "set").description.rows == {"train": 4, "validation": 0}
    with pytest.raises(InputInvalid, match="holds embeddings and no pictures; an export looks at pictures"):
        export_set(str(tmp_path / "set"), "webdataset", tmp_path / "out")
