"""Clones of published methods without their models: the same programs, arguments, folders, assertions and habits.

Each program reads exactly the tree that the real one reads and writes exactly the tree that it writes; the mask is
:func:`answer` of the sentence and the picture. A file ``mode`` in the clone says what goes wrong: right, op (it also
calls the deformable operator), partial, crash, nesting, size, keys, harmless, late, stuck. Like the real ones, a
program for Ref-DAVIS or Ref-YouTube-VOS works in a child process whose death it does not notice.
"""

from __future__ import annotations

import inspect
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from tiny import tiny_benchmark

from refvps.types import Benchmark, Clip, Expression


def answer(text, picture):
    """The mask of a sentence on a picture, bool [H, W]; some are empty."""
    key = zlib.crc32(text.encode())
    if key % 5 == 0:
        return np.zeros(picture.shape[:2], bool)
    return (picture.astype(int).sum(2) + key) % 97 < 30 + key % 20


def questioned(shapes: dict[str, tuple[tuple[int, int], int, int]], seed: int = 0) -> Benchmark:
    """A benchmark of noise; ``shapes``: ((height, width), frames, expressions) by clip. Frames are called anything."""
    clips, expressions = [], []
    for number, (name, (size, count, asked)) in enumerate(shapes.items()):
        frames = tuple(f"{(number * 7 + 5 * k):05d}" if number % 2 else f"f{k:02d}" for k in range(count))
        clips.append(Clip(name, size, 24.0, frames, frames[:: number + 1], 24.0 / (number + 1), name))
        expressions += [Expression(f"e{k}", name, f"The  Thing {k} of {name}, it's odd") for k in range(asked)]
    benchmark = tiny_benchmark(tuple(clips), tuple(expressions))

    def pictures(clip):
        known = benchmark.clips[clip]
        random = np.random.default_rng([seed, *clip.encode()])
        coarse = random.integers(0, 256, (len(known.frames), known.size[0] // 4 + 1, known.size[1] // 4 + 1, 3))
        return list(coarse.astype(np.uint8).repeat(4, 1).repeat(4, 2)[:, : known.size[0], : known.size[1]])

    return replace(benchmark, frames=pictures, digest=f"{zlib.crc32(repr((shapes, seed)).encode()):064x}")


ANSWERING = "import zlib\n\nimport numpy as np\n\n\n" + inspect.getsource(answer)

FLAGS = """--with_box_refine --two_stage --use_checkpoint --dilation --pre_norm --freeze_text_encoder --masks --binary
--remove_difficult --eval --visualize --cache_mode"""
VALUES = """--lr --batch_size --backbone --backbone_pretrained --pretrained_weights --num_frames --num_queries
--dataset_file --ytvos_path --max_size --output_dir --device --seed --resume --num_workers --threshold --split
--ngpu"""

OPTS = """
import argparse


def get_args_parser(flags, values, **defaults):
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=True)
    for name in flags.split():
        parser.add_argument(name, action="store_true")
    for name in values.split():
        parser.add_argument(name, default=defaults.get(name[2:]))
    return parser
"""

COMMON = """
import functools
import importlib.util
import json
import multiprocessing as mp
import os
import subprocess
import sys
import time

import numpy as np
from PIL import Image

from answering import answer
from opts import get_args_parser

HERE = os.path.dirname(os.path.abspath(__file__))
MODE = open(os.path.join(HERE, "mode")).read().strip()
if MODE == "op":
    import MultiScaleDeformableAttention as MSDA
    import torch

    some = torch.ones(70, 1, 1, 1), torch.tensor([[1, 1]]), torch.tensor([0]), torch.full((70, 2, 1, 1, 1, 2), 0.5)
    assert MSDA.ms_deform_attn_forward(*some, torch.ones(70, 2, 1, 1, 1), 64).shape == (70, 2, 1)
else:
    assert importlib.util.find_spec("MultiScaleDeformableAttention")


def load(path):
    if not path:
        raise ValueError("Please specify the checkpoint for inference.")
    assert open(path, "rb").read() == b"weights"
    if MODE == "keys":
        print("Missing Keys: ['backbone.0.body.norm.weight', 'class_embed.0.bias']")
    if MODE in ("keys", "harmless"):
        print("Unexpected Keys: ['text_encoder.embeddings.position_ids']")


def finish(picture, folder, name):
    if MODE == "size":
        picture = picture.resize((picture.width - 1, picture.height))
    os.makedirs(folder, exist_ok=True)
    picture.save(os.path.join(folder, name + ".png"))


def troubled(number, count):
    if MODE == "stuck":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("stuck", os.getpid(), child.pid, flush=True)
        time.sleep(600)
    if MODE == "crash" or (MODE == "partial" and number >= count // 2):
        raise RuntimeError("CUDA out of memory")


@functools.lru_cache(None)
def look(folder, video, frame):
    return np.array(Image.open(os.path.join(folder, video, frame + ".jpg")).convert("RGB"))


def in_children(work, videos, count):
    share = -(-len(videos) // count)
    children = [mp.Process(target=work, args=(videos[k * share : (k + 1) * share],)) for k in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""

DAVIS = """
def main(args):
    prefix = os.path.join(args.output_dir, @PREFIX@)
    os.makedirs(prefix, exist_ok=True)
    if MODE == "nesting":
        prefix = os.path.join(prefix, "masks")
    folder = os.path.join(args.davis_path, args.split, "@IMAGES@")
    with open(os.path.join(args.davis_path, "meta_expressions", args.split, "meta_expressions.json")) as stream:
        data = json.load(stream)["videos"]

    def work(videos):
        load(args.resume)
        palette = Image.open(os.path.join(args.davis_path, "valid/Annotations/blackswan/00000.png")).getpalette()
        for number, video in enumerate(videos):
            troubled(number, len(videos))
            asked = list(data[video]["expressions"].values())
            num_obj = len(asked) // 4
            for anno in range(4):
                masks = []
                for obj in range(num_obj):
                    text = asked[obj * 4 + anno]["exp"]
                    masks.append(np.stack([answer(text, look(folder, video, f)) for f in data[video]["frames"]]))
                scores = np.concatenate([np.full((1, *masks[0].shape), 0.1), np.stack(masks)])
                for index, ids in enumerate(scores.argmax(0).astype(np.uint8)):
                    picture = Image.fromarray(ids)
                    picture.putpalette(palette)
                    finish(picture, os.path.join(prefix, @NAMES@[anno], video), "%05d" % index)

    in_children(work, list(data), int(args.ngpu))
    print("Total inference time: 0.1 s")


if __name__ == "__main__":
    args = get_args_parser(@FLAGS@, @VALUES@, split="valid", ngpu=@NGPU@, output_dir="output").parse_args()
    @BEFORE@
    main(args)
    @AFTER@
    if MODE == "late":
        sys.exit(3)
"""

YTVOS = """
def main(args):
    prefix = os.path.join(args.output_dir, @PREFIX@)
    os.makedirs(prefix, exist_ok=True)
    folder = os.path.join(args.ytvos_path, args.split, "JPEGImages")
    meta = os.path.join(args.ytvos_path, "meta_expressions", "%s", "meta_expressions.json")
    data = json.load(open(meta % args.split))["videos"]
    video_list = sorted(set(data) - set(json.load(open(meta % "test"))["videos"]))
    assert len(video_list) == 202, "error: incorrect number of validation videos"

    def work(videos):
        load(args.resume)
        @PALETTE@
        for number, video in enumerate(videos):
            troubled(number, len(videos))
            if len(data[video]["frames"]) > 64 and len(data[video]["frames"]) % 64:
                raise RuntimeError("batch(%d) must divide im2col_step(64)" % len(data[video]["frames"]))
            for exp_id, asked in data[video]["expressions"].items():
                for frame in data[video]["frames"]:
                    mask = answer(asked["exp"], look(folder, video, frame)).astype(np.float32)
                    finish(Image.fromarray(mask * 255).convert("L"), os.path.join(prefix, video, exp_id), frame)

    in_children(work, video_list, int(args.ngpu))


if __name__ == "__main__":
    args = get_args_parser(@FLAGS@, @VALUES@, split="valid", ngpu=@NGPU@, output_dir="output").parse_args()
    @BEFORE@
    main(args)
"""

MUTR_DAVIS_BEFORE = """names = sorted(os.listdir(os.path.join("results", args.backbone, "ckpt")))
    ckpt = names[-1 if len(names) == 1 else int(args.test_num_ckpt or -2)]
    args.output_dir = os.path.join("results", args.backbone, "eval", "davis", ckpt[:-4])
    args.resume = os.path.join("results", args.backbone, "ckpt", ckpt)"""
MUTR_DAVIS_AFTER = """raise FileNotFoundError("./data/ref-davis/DAVIS")"""
MUTR_YTVOS_BEFORE = """names = sorted(os.listdir(os.path.join("results", args.backbone, "ckpt")))
    ckpt = names[int(args.test_num_ckpt or -2)]
    args.output_dir = os.path.join("results", args.backbone, "eval", args.dataset_file or "ytvos")
    args.resume = os.path.join("results", args.backbone, "ckpt", ckpt)
    prefix = "refytvos2021_%s_%s_ckpt_%s" % (args.split, args.backbone, ckpt[:-4])"""

LAUNCH = """
import argparse
import os
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--launch", default="projects/UNINEXT/train_net.py")
parser.add_argument("--dist", type=int, default=1)
parser.add_argument("--np", type=int, default=8)
parser.add_argument("--nn", type=int, default=1)
args, others = parser.parse_known_args()
os.chdir(os.path.dirname(os.path.abspath(__file__)))
command = "python3 %s --num-gpus=%d" % (args.launch, args.np)
for each in others:
    command += " " + each
sys.exit(subprocess.call(command, shell=True))
"""

TRAIN_NET = """
import argparse
import ast

sys.path.insert(0, os.getcwd())
parser = argparse.ArgumentParser()
parser.add_argument("--config-file", default="")
parser.add_argument("--resume", action="store_true")
parser.add_argument("--eval-only", action="store_true")
parser.add_argument("--num-gpus", type=int, default=1)
parser.add_argument("--uni", type=int, default=1)
parser.add_argument("opts", default=None, nargs=argparse.REMAINDER)
args = parser.parse_args()
assert args.eval_only and args.num_gpus == 1 and os.path.isfile(args.config_file)
assert os.listdir("projects/UNINEXT/bert-base-uncased")
cfg = dict(zip(args.opts[::2], args.opts[1::2]))
assert ast.literal_eval(cfg["DATASETS.TEST"]) == ("rvos-refytb-val",)
last = open(os.path.join(cfg["OUTPUT_DIR"], "last_checkpoint")).read().strip()
load(os.path.join(cfg["OUTPUT_DIR"], last))
if MODE == "keys":
    print("Some model parameters or buffers are not found in the checkpoint:\\n  detr.class_embed.weight")
root = os.path.join(os.getenv("DETECTRON2_DATASETS", "datasets"), "ref-youtube-vos")
listed = json.load(open(os.path.join(root, "valid.json")))
assert listed["categories"] == [{"supercategory": "object", "id": 1, "name": "object"}]
assert "annotations" not in listed and len({each["id"] for each in listed["videos"]}) == len(listed["videos"])
for number, video in enumerate(listed["videos"]):
    troubled(number, len(listed["videos"]))
    (text,) = video["expressions"]
    for name in [video["file_names"][k] for k in range(video["length"])]:
        picture = np.array(Image.open(os.path.join(root, "valid/JPEGImages", name)).convert("RGB"))
        assert picture.shape[:2] == (video["height"], video["width"])
        mask = answer(text, picture).astype(np.float32)
        where = os.path.join(cfg["OUTPUT_DIR"], "Annotations", "x" if MODE == "nesting" else "", video["video"])
        frame = name.split("/")[-1].replace(".jpg", "")
        finish(Image.fromarray(mask * 255).convert("L"), os.path.join(where, video["exp_id"]), frame)
"""

REM = """
def main(args):
    load(args.resume)
    home = os.path.join("%s/%s_%d" % (args.output_dir, args.name_prefix, 72), "val_vis", "r_davis_7")
    folder = os.path.join(args.davis_path, "valid", "JPEGImages")
    data = json.load(open(os.path.join(args.davis_path, "meta_expressions/valid/meta_expressions.json")))["videos"]
    os.makedirs(home)
    palette = Image.open(os.path.join(args.davis_path, "valid/Annotations/blackswan/00000.png")).getpalette()
    for number, video in enumerate(data):
        troubled(number, len(data))
        asked = list(data[video]["expressions"].values())
        for anno in range(4):
            for obj in range(len(asked) // 4):
                place = os.path.join(home, "anno_%d" % anno, video, str(obj + 1))
                for index, frame in enumerate(data[video]["frames"]):
                    mask = answer(asked[obj * 4 + anno]["exp"], look(folder, video, frame)) * (obj + 1)
                    picture = Image.fromarray(mask.astype(np.uint8))
                    picture.putpalette(palette)
                    finish(picture, place, "%05d" % index)
    raise FileNotFoundError(os.path.join(args.davis_anno_path, "ImageSets/2017/val.txt"))


if __name__ == "__main__":
    parser = get_args_parser("--half --eval", @VALUES@, davis_path="../ref-davis", output_dir="output")
    parser.add_argument("--exps", type=str, nargs="+")
    args = parser.parse_args()
    main(args)
"""

MUTR_NAMES = ("Davis17_annot1", "Davis17_annot1_full_video", "Davis17_annot2", "Davis17_annot2_full_video")
ANNO = ("anno_0", "anno_1", "anno_2", "anno_3")


def _program(text: str, **parts: object) -> str:
    defaults = {"IMAGES": "JPEGImages", "NAMES": ANNO, "BEFORE": "pass", "AFTER": "pass", "PALETTE": "pass", "NGPU": 8}
    flags, values = f"{FLAGS} {parts.pop('more', '')}", f"{VALUES} --davis_path --test_num_ckpt"
    for name, value in (defaults | {"FLAGS": repr(flags), "VALUES": repr(values)} | parts).items():
        text = text.replace(f"@{name}@", str(value))
    return COMMON + text


def programs(method: str) -> dict[str, str]:
    """Files of the clone of a method, by path."""
    if method == "referformer":
        return {
            "inference_davis.py": _program(DAVIS, PREFIX="args.split"),
            "inference_ytvos.py": _program(YTVOS, PREFIX="args.split"),
        }
    if method == "sgmg":
        return {
            "inference_davis.py": _program(DAVIS, PREFIX="'DVS_Annotations'", IMAGES="JPEGImages/480p", more="--amp"),
            "inference_ytvos.py": _program(YTVOS, PREFIX="'Annotations'", more="--amp"),
        }
    if method == "vdit":
        return {
            "inference_davis.py": _program(DAVIS, PREFIX="'DVS_Annotations'", more="--amp").replace(
                "def main(args):",
                "def main(args):\n    assert os.path.isdir('Text-To-Video-Finetuning/mymodels/model_scope_diffusers')",
            ),
            "Text-To-Video-Finetuning/mymodels/model_scope_diffusers/model_index.json": "{}",
        }
    if method == "mutr":
        palette = 'Image.open(os.path.join(args.davis_path, "valid/Annotations/blackswan/00000.png")).getpalette()'
        davis = {"NAMES": MUTR_NAMES, "BEFORE": MUTR_DAVIS_BEFORE, "AFTER": MUTR_DAVIS_AFTER, "NGPU": 1}
        ytvos = {"BEFORE": MUTR_YTVOS_BEFORE + "\n    args.prefix = prefix", "PALETTE": palette, "NGPU": 1}
        return {
            "inference_davis.py": _program(DAVIS, PREFIX="args.split", **davis),
            "inference_ytvos.py": _program(YTVOS, PREFIX="args.prefix, 'Annotations'", **ytvos),
        }
    if method == "uninext":
        here = "HERE = os.path.dirname(os.path.abspath(__file__))"
        start = "sys.path.insert(0, os.getcwd())\nfrom answering"
        common = COMMON.replace(here, "HERE = os.getcwd()").replace("from answering", start)
        return {
            "launch.py": LAUNCH,
            "projects/UNINEXT/train_net.py": common + TRAIN_NET,
            "projects/UNINEXT/configs/eval-vid/video_joint_vit_huge_eval_rvos.yaml": "_BASE_: x\n",
            "projects/UNINEXT/bert-base-uncased/config.json": "{}",
        }
    assert method == "rem"
    start = 'import sys\nsys.path.insert(1, "../")\n'
    common = COMMON.replace("HERE = os.path.dirname(os.path.abspath(__file__))", 'HERE = ".."')
    values = "--davis_path --davis_anno_path --output_dir --device --resume --num_frames --name_prefix --seed"
    return {"ref-davis/infer_davis_MS.py": start + common + REM.replace("@VALUES@", repr(values))}


def clone(method: str, folder: Path, mode: str = "right") -> Path:
    """A new clone of a method below ``folder``, with its checkpoint ``weights.pth`` beside it."""
    repo = folder / f"{method} clone"
    files = programs(method) | {"answering.py": ANSWERING, "opts.py": OPTS, "mode": mode}
    for name, text in files.items():
        path = repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "weights.pth").write_bytes(b"weights")
    return repo
