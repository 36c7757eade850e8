"""Official checkpoints: read in full, refused when anything is off, never executed."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tinymodels import modelscope_folder

from refvps.errors import InputError, UsageError
from rem.checkpoints import load_strict, read_archive, read_checkpoint, read_state, sha256_of
from rem.convert import convert
from rem.parameters import outline

KEYS_950 = {
    "block_out_channels": (32, 64, 64, 64), "layers_per_block": 1, "cross_attention_dim": 16,
    "attention_head_dim": 8, "norm_num_groups": 32, "in_channels": 4, "out_channels": 4,
}  # fmt: skip
WAN_TINY = {
    "num_attention_heads": 2, "attention_head_dim": 24, "in_channels": 4, "out_channels": 4, "text_dim": 16,
    "ffn_dim": 64, "num_layers": 2, "freq_dim": 32, "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads",
}  # fmt: skip


@pytest.fixture(scope="module")
def unet():
    from diffusers import UNet3DConditionModel

    torch.manual_seed(0)
    return UNet3DConditionModel(**KEYS_950).eval()


@pytest.fixture(scope="module")
def wan():
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    return WanTransformer3DModel(**WAN_TINY).eval()


@pytest.fixture
def official(tmp_path, unet):
    """A stage-1 file as ModelScope's training script writes it, optimizer and numpy scalars included."""
    args = argparse.Namespace(lr=1e-5, exps=["the smoke"], resume=None, num_frames=1, bestJFm=np.float64(0.625))
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(7)}}
    content = {
        "unet": unet.state_dict(), "optimizer": {"state": moments, "param_groups": [{"lr": 1e-5, "params": [0]}]},
        "epoch": 4, "args": args, "iteration": 1234, "res": np.float32(0.5),
    }  # fmt: skip
    torch.save(content, tmp_path / "model_ckpt_best.pth")
    return tmp_path / "model_ckpt_best.pth"


def archive(path, table, storages=(), compression=zipfile.ZIP_STORED):
    """A torch archive by hand, around a pickle of any content."""
    with zipfile.ZipFile(path, "w", compression) as writer:
        writer.writestr("archive/data.pkl", table)
        for name, data in storages:
            writer.writestr(f"archive/data/{name}", data)
        writer.writestr("archive/version", "3\n")
        writer.writestr("archive/byteorder", "little")
    return path


def same(state, module):
    table = module.state_dict()
    return list(state) == list(table) and all(torch.equal(state[key], table[key]) for key in table)


def test_modelscope_layout_comes_back_bit_for_bit(official, unet):
    found = read_checkpoint(official)
    assert len(found.state) == 950
    assert same(found.state, unet)
    assert found.layout == "modelscope"
    assert found.dropped == {"optimizer": 1}
    assert found.about["args"] == {
        "lr": 1e-5, "exps": ["the smoke"], "resume": None, "num_frames": 1, "bestJFm": 0.625
    }  # fmt: skip
    assert (found.about["epoch"], found.about["iteration"], found.about["res"]) == (4, 1234, 0.5)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize(("value", "plain"), [(np.float64(0.1), 0.1), (np.int64(-7), -7), (np.bool_(True), True)])
def test_numpy_scalars_of_either_numpy(tmp_path, module, value, plain):
    buffer = io.BytesIO()
    torch.save({"unet": {"w": torch.ones(2)}, "res": value}, buffer)
    with zipfile.ZipFile(buffer) as old:
        table = old.read("archive/data.pkl").replace(b"numpy._core.multiarray", module.encode())
        weights = old.read("archive/data/0")
    found = read_checkpoint(archive(tmp_path / "a.pth", table, [("0", weights)]))
    assert found.about["res"] == plain
    assert type(found.about["res"]) is type(plain)


def test_big_endian_scalars_keep_their_value(tmp_path):
    torch.save({"unet": {"w": torch.ones(2)}, "res": np.dtype(">f8").type(0.1).astype(">f8")[()]}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").about["res"] == 0.1


def test_wan_layout_is_stripped_and_the_rest_listed(tmp_path, wan):
    state = {f"backbone.dit.{key}": value for key, value in wan.state_dict().items()}
    state |= {"backbone.vae.decoder.w": torch.ones(2), "backbone.text_encoder.shared.w": torch.ones(3)}
    args = argparse.Namespace(base_dir="Wan", wanres=True)
    content = {"model_state": state, "optimizer": {}, "epoch": 0, "iteration": np.int64(5000), "args": args}
    torch.save(content, tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    assert same(found.state, wan)
    assert found.dropped == {"backbone.vae": 1, "backbone.text_encoder": 1, "optimizer": 1}
    state["backbone.head.w"] = torch.ones(1)
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputError, match="no known part"):
        read_state(tmp_path / "x.pth")


def test_a_malicious_pickle_runs_nothing(tmp_path):
    target = tmp_path / "pwned"

    class Evil:
        def __reduce__(self):
            return (open, (str(target), "w"))

    torch.save({"unet": {"w": torch.ones(2)}, "args": Evil()}, tmp_path / "a.pth")
    table = pickle.dumps(Evil())
    for path in (
        tmp_path / "a.pth",
        archive(tmp_path / "b.pth", table),  # STACK_GLOBAL of protocol 4
        archive(tmp_path / "c.pth", pickle.dumps(Evil(), protocol=2)),
        archive(tmp_path / "d.pth", b"(S'" + str(target).encode() + b"'\nios\nmkdir\n."),  # INST
    ):
        with pytest.raises(InputError, match="nothing of it was executed"):
            read_state(path)
        assert not target.exists()
    pickle.loads(table).close()
    assert target.exists(), "the payload itself must work, or the test proves nothing"


@pytest.mark.parametrize(
    "name", ["torch.load", "torch.FloatTensor", "builtins.bytearray", "torch._utils._rebuild_qtensor"]
)
def test_names_that_torch_itself_may_allow_are_refused_too(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    table = b"\x80\x02c" + module.encode() + b"\n" + attribute.encode() + b"\nK\x05\x85R."
    with pytest.raises(InputError, match="asks for Python objects"):
        read_archive(archive(tmp_path / "a.pth", table))


def test_other_files_are_refused(tmp_path, official):
    whole = official.read_bytes()
    cases = {
        "cut.pth": whole[: len(whole) // 2], "noise.pth": bytes(range(256)) * 9, "empty.pth": b"",
        "plain.pth": pickle.dumps({"unet": {}}), "both.pth": pickle.dumps({"unet": {}}) + whole,
    }  # fmt: skip
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="not a whole torch archive"):
            read_state(tmp_path / name)
    for name, content in {
        "weights.pth": {"w": torch.ones(2)}, "list.pth": [torch.ones(2)], "both.pth": {"unet": {}, "model_state": {}}
    }.items():  # fmt: skip
        torch.save(content, tmp_path / name)
        with pytest.raises(InputError, match="neither of the official layouts"):
            read_state(tmp_path / name)
    torch.save({"unet": {"w": [1, 2]}}, tmp_path / "lists.pth")
    with pytest.raises(InputError, match="not a table of tensors"):
        read_state(tmp_path / "lists.pth")
    with pytest.raises(InputError, match="no such checkpoint"):
        read_state(tmp_path / "absent.pth")
    torch.save({"unet": {}}, tmp_path / "none.pth")
    with pytest.raises(InputError, match="no tensor of the denoiser"):
        read_state(tmp_path / "none.pth")


def test_a_torchscript_program_is_refused(tmp_path):
    with zipfile.ZipFile(archive(tmp_path / "a.pth", b"."), "a") as writer:
        writer.writestr("archive/constants.pkl", b"\x80\x02).")
        writer.writestr("archive/code/__torch__.py", "")
    with pytest.raises(InputError, match="TorchScript"):
        read_state(tmp_path / "a.pth")


def test_a_compressed_archive_is_refused(tmp_path):
    archive(tmp_path / "a.pth", b"\x80\x02}.", [("0", bytes(1 << 20))], zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="not a plain torch archive"):
        read_state(tmp_path / "a.pth")


def huge(size, stride, numel, *, popped=False):
    """A pickle of one float tensor of any declared size over a storage of ``numel`` declared elements."""

    class Storage:
        pass

    class Writer(pickle._Pickler):
        def persistent_id(self, thing):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if isinstance(thing, Storage) else None

    class Tensor:
        def __reduce__(self):
            return (torch._utils._rebuild_tensor_v2, (Storage(), 0, size, stride, False, {}))

    out = io.BytesIO()
    Writer(out, 2).dump({"unet": {"w": Tensor()}})
    return out.getvalue()


@pytest.mark.parametrize(
    ("size", "stride", "numel"),
    [
        ((10**12,), (1,), 4),  # far beyond its storage
        ((10**12,), (0,), 4),  # one number, repeated
        ((10**6, 10**6), (10**6, 1), 10**12),  # and a storage that claims as much
        ((1 << 20,), (1,), 1 << 20),  # a little beyond the file
    ],
)
def test_declared_sizes_are_checked_before_memory_is_touched(tmp_path, size, stride, numel):
    path = archive(tmp_path / "a.pth", huge(size, stride, numel), [("0", struct.pack("4f", 1, 2, 3, 4))])
    with pytest.raises(InputError, match="larger than its file"):
        read_state(path)


def test_a_small_handmade_archive_is_read(tmp_path):
    path = archive(tmp_path / "a.pth", huge((2, 2), (2, 1), 4), [("0", struct.pack("4f", 1, 2, 3, 4))])
    assert read_state(path)["w"].tolist() == [[1, 2], [3, 4]]


@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_no_damaged_byte_of_the_table_escapes(tmp_path_factory, position, value):
    table = bytearray(huge((2, 2), (2, 1), 4))
    table[position % len(table)] = value
    path = archive(tmp_path_factory.mktemp("x") / "a.pth", bytes(table), [("0", struct.pack("4f", 1, 2, 3, 4))])
    try:
        state = read_state(path)
    except InputError:
        return
    assert all(isinstance(tensor, torch.Tensor) and tensor.numel() < 10**4 for tensor in state.values())


def test_strict_loading_lists_every_kind(unet):
    state = dict(unet.state_dict())
    keys = list(state)
    for key in keys[:5]:
        state[f"module.{key}"] = state.pop(key)
    state[keys[5]] = torch.zeros(3, 1, 4)
    state[keys[6]] = state[keys[6]].long()
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_strict(unet, state, "stage1.pth")
    text = str(caught.value)
    assert "950 keys 5 missing, 5 unexpected, 1 of another shape, 1 not floating point (stage1.pth)" in text
    assert f"missing: {keys[0]}, {keys[1]}, {keys[2]} and 2 more" in text
    assert f"{keys[5]} [3, 1, 4] instead of" in text
    assert same(before, unet)


def test_safetensors_files_folders_and_shards(tmp_path, unet):
    from safetensors.torch import save_file

    save_file(unet.state_dict(), tmp_path / "u.safetensors")
    unet.save_pretrained(tmp_path / "model" / "unet", max_shard_size="3MB")
    save_file(unet.state_dict(), tmp_path / "model" / "denoiser.safetensors")
    assert (tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors.index.json").is_file()
    for place in ("u.safetensors", "model/unet", "model"):
        state = read_state(tmp_path / place)
        assert same({key: state[key] for key in unet.state_dict()}, unet), place
    assert read_state(tmp_path / "u.safetensors", prefix="conv_in.").keys() == {"weight", "bias"}
    damaged = bytearray((tmp_path / "u.safetensors").read_bytes())
    damaged[3] = 255  # the header says it is larger than the file
    (tmp_path / "u.safetensors").write_bytes(damaged)
    with pytest.raises(InputError, match="safetensors file cannot be read"):
        read_state(tmp_path / "u.safetensors")


def test_an_index_cannot_lead_outside_its_folder(tmp_path, unet):
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "secret.safetensors")
    (tmp_path / "unet").mkdir()
    index = tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "../secret.safetensors"}}))
    with pytest.raises(InputError, match="outside its folder"):
        read_state(tmp_path)


def test_the_digest_of_a_folder_is_of_its_content(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place / "unet").mkdir(parents=True)
    for place, names in (("a", "yx"), ("b", "xy")):
        for name in names:
            (tmp_path / place / "unet" / f"{name}.safetensors").write_bytes(name.encode())
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "b")
    (tmp_path / "b" / "unet" / "x.safetensors").write_bytes(b"z")
    assert sha256_of(tmp_path / "a") != sha256_of(tmp_path / "b")


def test_conversion_gives_a_folder_that_diffusers_reads(tmp_path, official, unet):
    from diffusers import UNet3DConditionModel

    (tmp_path / "config.json").write_text(json.dumps({**KEYS_950, "_class_name": "UNet3DConditionModel"}))
    done = convert(official, tmp_path / "out", config=tmp_path / "config.json")
    loaded, info = UNet3DConditionModel.from_pretrained(tmp_path / "out", subfolder="unet", output_loading_info=True)
    assert not any(info.values())
    assert same(loaded.state_dict(), unet)
    note = json.loads((tmp_path / "out" / "rem.json").read_text())
    assert note == done.note
    assert note["source_sha256"] == sha256_of(official)
    assert (note["tensors"], note["backbone"], note["epoch"]) == (950, "modelscope", 4)
    assert note["parameters"] == sum(p.numel() for p in unet.parameters())
    assert note["args"]["bestJFm"] == 0.625
    with pytest.raises(UsageError, match="nothing was overwritten"):
        convert(official, tmp_path / "out", config=tmp_path / "config.json")


def test_conversion_shards_large_files(tmp_path, official, unet, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps(KEYS_950))
    monkeypatch.setattr("rem.convert.SHARD", "3MB")
    convert(official, tmp_path / "out", config=tmp_path / "config.json")
    assert len(list((tmp_path / "out" / "unet").glob("*.safetensors"))) > 1
    state = read_state(tmp_path / "out")
    assert same({key: state[key] for key in unet.state_dict()}, unet)


def test_conversion_of_wan(tmp_path, wan):
    from diffusers import WanTransformer3DModel

    state = {f"backbone.dit.{key}": value.bfloat16() for key, value in wan.state_dict().items()}
    torch.save({"model_state": {**state, "backbone.vae.w": torch.ones(1)}}, tmp_path / "w.pth")
    (tmp_path / "config.json").write_text(json.dumps(WAN_TINY))
    note = convert(tmp_path / "w.pth", tmp_path / "out", config=tmp_path / "config.json").note
    assert (note["backbone"], note["dropped"], note["dtypes"]) == (
        "wan-1.3b", {"backbone.vae": 1}, {"bfloat16": len(state)}
    )  # fmt: skip
    loaded = WanTransformer3DModel.from_pretrained(tmp_path / "out", subfolder="transformer")
    assert all(
        torch.equal(loaded.state_dict()[key], value.bfloat16().float()) for key, value in wan.state_dict().items()
    )


def test_conversion_with_the_base_model_is_a_whole_model(tmp_path):
    from rem import RemPipeline

    base = modelscope_folder(tmp_path / "base")
    tuned = {key: value + 1 for key, value in read_state(base).items()}
    torch.save({"unet": tuned, "epoch": 1, "args": argparse.Namespace()}, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "out", base=base)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in base.iterdir()} | {"rem.json"}
    pipeline = RemPipeline.from_pretrained(tmp_path / "out", backbone="modelscope", device="cpu")
    state = pipeline.backbone.denoiser.state_dict()
    assert all(torch.equal(state[key], tuned[key]) for key in tuned)
    pipeline.save_pretrained(tmp_path / "saved")  # its index also names components that it has not
    convert(tmp_path / "a.pth", tmp_path / "again", base=tmp_path / "saved")
    assert (tmp_path / "again/vae").is_dir()


def test_a_failed_conversion_leaves_nothing(tmp_path, official, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps(KEYS_950))
    here = set(tmp_path.iterdir())
    with pytest.raises(InputError, match="does not fit"):  # the full-size network
        convert(official, tmp_path / "out")
    monkeypatch.setattr("os.rename", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        convert(official, tmp_path / "out", config=tmp_path / "config.json")
    assert set(tmp_path.iterdir()) == here


def test_the_full_key_list_of_modelscope_loads_on_the_meta_device():
    full = outline("modelscope")
    state = {key: torch.empty_like(value) for key, value in full.state_dict().items()}
    assert len(state) == 1480
    load_strict(full, state, "full")
    key, value = state.popitem()
    with pytest.raises(InputError, match=f"missing: {key}"):
        load_strict(full, state, "full")
    state[f"{key}_"] = value
    with pytest.raises(InputError, match="1 missing, 1 unexpected"):
        load_strict(full, state, "full")
