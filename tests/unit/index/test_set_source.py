import numpy as np
import pytest
from factories import make_embedding_params, make_index_params
from worlds.judged import list_triplets, write_set

from compodiff.embeddings import SetEmbeddings, embed_set
from compodiff.errors import InputInvalid
from compodiff.images import PictureTable
from compodiff.index.index import Index
from compodiff.index.segments.building import SegmentPlan
from compodiff.index.segments.making import VectorsToIndex, index_vectors
from compodiff.sets import TRIPLETS, open_set


def test_the_pictures_of_an_embedded_set_are_indexed_with_their_captions(
    tmp_path, tiny_encoder, encoder_folder, one_process
):
    for name in ("set", "other"):
        (tmp_path / name).mkdir()
    rows = list_triplets()
    folder, other = write_set(tmp_path / "set", TRIPLETS, rows), write_set(tmp_path / "other", TRIPLETS, rows[:-1])
    embed_set(tmp_path / "embedded", folder, encoder_folder, make_embedding_params(masks_per_picture=0))
    plan = SegmentPlan("ivf_fp16", lists=1, pictures_root=str(tmp_path))
    asked = VectorsToIndex(tmp_path / "embedded", tiny_encoder.manifest, plan, set_folder=folder)
    index_vectors(tmp_path / "index", asked, make_index_params())
    index, stored = Index.load(tmp_path / "index"), SetEmbeddings.load(tmp_path / "embedded")
    read = list(open_set(folder).iterate_rows())
    assert sorted({row["target"]["name"] for row in read} - set(index.row)) == []
    assert index.manifest.count == len(set(index.picture_ids))
    row = index.row[read[0]["target"]["name"]]
    assert index.rows.read([row])["caption"].tolist() == [read[0]["target_caption"]]
    assert np.isin(np.array(index.embeddings[:]), np.array(stored.images, np.float32)).all()
    assert PictureTable(tmp_path, index.rows.list_places(index.row)).read(index.picture_ids[row]).size
    wrong = VectorsToIndex(tmp_path / "embedded", tiny_encoder.manifest, plan, set_folder=other)
    with pytest.raises(InputInvalid, match="holds embeddings of another set"):
        index_vectors(tmp_path / "index", wrong, make_index_params())
