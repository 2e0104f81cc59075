"""Torch's own format is read as tensors: what would run code in it is refused, and has not run."""

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compodiff.errors import CheckpointMismatch
from compodiff.released.torch_file import read_torch_file

TENSORS = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([0.5, -1.0]).half()}


class _Poison:
    """Unpickled, it makes a file."""

    def __init__(self, call: Any, *given_to: Any) -> None:
        self.call, self.given_to = call, given_to

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.given_to


def _list_poisons(ran: Path) -> list[_Poison]:
    return [
        _Poison(Path.touch, ran),
        _Poison(os.system, f"touch {ran}"),
        _Poison(exec, f"open({str(ran)!r}, 'w').close()"),
        _Poison(torch.save, {"a": 1}, ran),
    ]


@pytest.mark.parametrize("is_zip", [True, False], ids=["archive", "before 2020"])
@pytest.mark.parametrize("forced", ["", "1"], ids=["", "forced"])
@pytest.mark.parametrize("number", range(4))
def test_a_file_that_would_run_code_is_refused_and_has_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, forced: str, is_zip: bool
) -> None:
    # By this variable a user makes torch unpickle whatever does not say otherwise itself.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    ran, file = tmp_path / "ran", tmp_path / "pytorch_model.bin"
    content = TENSORS | {"model.net.weight": _list_poisons(ran)[number]}
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointMismatch, match=r"as a file that runs code does; nothing was run") as refused:
        read_torch_file(file)
    assert "\n" not in str(refused.value)
    assert not ran.exists()
    with pytest.MonkeyPatch.context() as careless:  # the same file does run it where nobody forbids it
        careless.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
        torch.load(file, weights_only=False)
    assert ran.exists()


def test_a_plain_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    ran, file = tmp_path / "ran", tmp_path / "pytorch_model.bin"
    file.write_bytes(pickle.dumps({"model.net.weight": _Poison(os.system, f"touch {ran}")}))
    with pytest.raises(CheckpointMismatch, match=r"nothing was run|not torch's format"):
        read_torch_file(file)
    assert not ran.exists()


@pytest.mark.parametrize("is_zip", [True, False], ids=["archive", "before 2020"])
def test_both_formats_give_the_tensors_that_were_written(tmp_path: Path, is_zip: bool) -> None:
    torch.save(TENSORS, tmp_path / "weights.bin", _use_new_zipfile_serialization=is_zip)
    read = read_torch_file(tmp_path / "weights.bin")
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) and read[name].dtype == TENSORS[name].dtype for name in read)


def test_tensors_that_share_memory_come_apart(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    shared = {"whole": whole, "part": whole[3:6], "turned": whole.view(3, 4).T, "one": torch.ones(()).expand(2, 2)}
    torch.save(shared, tmp_path / "weights.bin")
    read = read_torch_file(tmp_path / "weights.bin")
    assert all(torch.equal(read[name], shared[name]) for name in shared)
    assert len({tensor.untyped_storage().data_ptr() for tensor in read.values()}) == len(shared)
    assert all(tensor.is_contiguous() for tensor in read.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(2), "holds a Tensor, not tensors by name"),
        ({}, "not tensors by name"),
        ({"ema_model": TENSORS}, "holds a dict as 'ema_model', not a tensor"),
        ({"ids": torch.arange(3)}, "'ids' is torch.int64"),
        ({"sparse": torch.eye(2).to_sparse()}, "torch.sparse_coo"),
        ({"none": torch.zeros(2, device="meta")}, "meta"),
    ],
)
def test_what_is_no_state_dict_is_named(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "weights.bin")
    with pytest.raises(CheckpointMismatch, match=message):
        read_torch_file(tmp_path / "weights.bin")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_program_of_torch_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "weights.bin")
    with pytest.raises(CheckpointMismatch, match="not torch's format"):
        read_torch_file(tmp_path / "weights.bin")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The same tensors in both formats."""
    folder = tmp_path_factory.mktemp("written")
    for is_zip in (True, False):
        torch.save(TENSORS, folder / f"{is_zip}", _use_new_zipfile_serialization=is_zip)
    return [(folder / f"{is_zip}").read_bytes() for is_zip in (True, False)]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_cut_and_changed_bytes_are_refused_or_are_tensors(
    data: st.DataObject, written: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(data.draw(st.sampled_from(written)))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for place in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=4)):
        if content:
            content[place] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "changed.bin"
    file.write_bytes(content)
    with contextlib.suppress(CheckpointMismatch):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_torch_file(file).values())
