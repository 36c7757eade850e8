"""Masks as arrays of any library: what is taken, what is refused, and what the message says to do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from refvps.errors import InputError
from refvps.masks.arrays import as_array, binary

MASKS = np.random.default_rng(3).random((5, 7, 9)) < 0.4


class OnlyArray:
    """An array type that speaks nothing but ``__array__``."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class OnlyDlpack:
    """An array type that speaks nothing but DLPack."""

    def __init__(self, array, device=None):
        self.array, self.place = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.place or self.array.__dlpack_device__()


class OnGpu(OnlyDlpack):
    device = "cuda:0"

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


class Liar:
    def __array__(self, dtype=None, copy=None):
        return [[True]]


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise MemoryError("no room")


GOOD = {
    "bool": MASKS,
    "0/1": MASKS.astype(np.uint8),
    "0/255": MASKS.astype(np.uint8) * 255,
    "int64 0/255": MASKS.astype(np.int64) * 255,
    "big-endian": MASKS.astype(">i4"),
    "int8": MASKS.astype(np.int8),
    "uint64": MASKS.astype(np.uint64),
    "column-major": np.asfortranarray(MASKS),
    "every second": np.repeat(MASKS, 2, axis=0)[::2],
    "backwards": np.ascontiguousarray(MASKS[:, ::-1])[:, ::-1],
    "read-only": np.frombuffer(MASKS.tobytes(), np.bool_).reshape(MASKS.shape),
    "torch bool": torch.from_numpy(MASKS.copy()),
    "torch uint8 0/255": torch.from_numpy(MASKS.copy()).byte() * 255,
    "torch int64": torch.from_numpy(MASKS.copy()).long(),
    "torch permuted": torch.from_numpy(np.ascontiguousarray(MASKS.transpose(2, 0, 1))).permute(1, 2, 0),
    "torch logits > 0": torch.where(torch.from_numpy(MASKS.copy()), 2.0, -2.0).requires_grad_() > 0,
    "only __array__": OnlyArray(MASKS),
    "only DLPack": OnlyDlpack(MASKS.astype(np.uint8)),
    "only DLPack, bool": OnlyDlpack(MASKS.copy()),
}


@pytest.mark.parametrize("kind", GOOD)
def test_every_honest_form_is_the_same_mask(kind):
    levels = set()
    array = as_array(GOOD[kind], "here")
    assert array.shape == MASKS.shape
    for frame, expected in zip(array, MASKS, strict=True):
        found = binary(frame, levels, "here")
        assert found.dtype == np.bool_
        assert np.array_equal(found, expected)


BAD = {
    "float": (MASKS.astype(float), "float64 is soft", "threshold first"),
    "half": (torch.zeros(5, 7, 9, dtype=torch.float16), "float16 is soft", "threshold first"),
    "complex": (MASKS.astype(complex), "complex128 is soft", "threshold first"),
    "bfloat16": (torch.zeros(5, 7, 9, dtype=torch.bfloat16), "does not turn into a numpy array", "logits > 0"),
    "requires grad": (torch.zeros(5, 7, 9, requires_grad=True), "requires grad", "logits > 0"),
    "no memory": (torch.zeros(5, 7, 9, device="meta"), "without memory", "cpu"),
    "sparse": (torch.ones(2, 2, dtype=torch.bool).to_sparse(), "does not turn into a numpy array", "cpu"),
    "on a GPU": (OnGpu(MASKS.copy(), (2, 0)), "on cuda:0", r"masks\.cpu\(\)"),
    "on an unknown device": (OnlyDlpack(MASKS.copy(), (8, 0)), "not in the memory of the CPU", "copy them first"),
    "list of arrays": (list(MASKS), "a list is no array", r"numpy\.stack"),
    "None": (None, "a NoneType is no array", "bool masks"),
    "text": ("masks", "a str is no array", "bool masks"),
    "masked": (np.ma.masked_array(MASKS, ~MASKS), "a masked array", "filled"),
    "objects": (MASKS.astype(object), "dtype object", "bool masks"),
    "texts": (MASKS.astype(str), "dtype <U5", "bool masks"),
    "liar": (Liar(), "gives no numpy array", "bool masks"),
    "broken": (Broken(), "no room", "bool masks"),
}


@pytest.mark.parametrize("kind", BAD)
def test_refusals_name_the_place_the_reason_and_the_remedy(kind):
    masks, reason, remedy = BAD[kind]
    with pytest.raises(InputError, match=remedy) as error:
        as_array(masks, "clip/0")
    assert "at clip/0: " in str(error.value)
    assert reason in str(error.value)
    assert error.value.exit_code == 4


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int8, np.int16, np.int64, np.uint64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=4),
        elements=st.sampled_from([0, 1, 2, 100]),
    ),
    st.sampled_from([1, 255]),
)
def test_only_two_values_and_only_these(values, foreground):
    """{0, 1} and {0, 255} are masks; one pixel of anything else is not, whatever the type."""
    scaled = np.where(values == 1, foreground, values).astype(np.int64 if foreground == 255 else values.dtype)
    if set(np.unique(scaled).tolist()) <= {0, foreground}:
        assert np.array_equal(binary(scaled, set(), "here"), values == 1)
    else:
        with pytest.raises(InputError, match="values "):
            binary(scaled, set(), "here")


def test_negative_and_mixed_values_are_refused():
    with pytest.raises(InputError, match="values -1, 0, 1"):
        binary(np.array([[-1, 0, 1]]), set(), "here")
    with pytest.raises(InputError, match="values 0, 1, 255"):
        binary(np.array([[0, 1, 255]]), set(), "here")
    with pytest.raises(InputError, match=r"values 0, 1, 2, 3, 4, 5, \.\.\."):
        binary(np.arange(200).reshape(10, 20), set(), "here")
    levels = set()
    binary(np.array([[0, 1]]), levels, "frame 0")
    binary(np.array([[0, 0]]), levels, "frame 1")
    with pytest.raises(InputError, match="frame 2: 1 in one frame and 255 in another"):
        binary(np.array([[0, 255]]), levels, "frame 2")


def test_nothing_is_copied_and_torch_is_not_imported():
    tensor = torch.from_numpy(MASKS.copy())
    assert np.shares_memory(as_array(tensor, "here"), tensor.numpy())
    code = "import sys, numpy, refvps.masks.arrays as a; a.as_array(numpy.ones((1, 2, 2), bool), ''); "
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True)
