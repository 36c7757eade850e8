"""The recipes, one for each method that can be run, and rows for those that cannot or need none."""

from __future__ import annotations

from baselines.published.recipe import ANNOTATORS, Door, Recipe, Row

_DETR = ("--with_box_refine", "--binary", "--freeze_text_encoder", "--ngpu", "{gpus}", "--backbone", "{backbone}")
_RESUME = ("--output_dir", "{run}/output", "--resume", "{weights}")
_DAVIS = ("--davis_path", "{questions}")
_YTVOS = ("--ytvos_path", "{questions}")
_OPTIMISED = "-O"
"""The programs for Ref-YouTube-VOS assert that there are 202 videos; python -O drops asserts."""

_MUTR_NAMES = ("Davis17_annot1", "Davis17_annot1_full_video", "Davis17_annot2", "Davis17_annot2_full_video")

_MODERN = """One environment for ReferFormer, MUTR and SgMg on today's GPUs (a proposal from reading their code: the
environments they document, Python 3.7 with torch 1.8.1 and CUDA 11.1, or torch 1.11 with CUDA 11.3, have no kernels for
Ada and Hopper):

```
python3.10 -m venv env && . env/bin/activate
pip install "torch==2.5.*" "torchvision==0.20.*" "transformers>=4.30,<5" "timm==0.9.*" "numpy<2" \\
    einops fvcore pycocotools scipy opencv-python-headless matplotlib ftfy regex tqdm pandas
```

- transformers < 5: `tokenizer.batch_encode_plus` is gone in 5.
- torch < 2.6 or `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1` (set by the run): checkpoints hold an `argparse.Namespace`.
  Loading them can run code that they contain: take weights from their authors only.
- The compiled operator is not needed: the run puts a replacement in PyTorch on `PYTHONPATH`.
- roberta-base is fetched from the Hugging Face hub at the first start; fetch it before on a machine without network.
"""

REFERFORMER = Recipe(
    name="referformer",
    title="ReferFormer (Wu et al., CVPR 2022)",
    licence="Apache-2.0",
    url="https://github.com/wjn922/ReferFormer",
    weights="a checkpoint of its README (Google Drive); the paper's row is Video-Swin-B, pretrained then finetuned",
    doors={
        "davis": Door(
            questions="davis4",
            arguments=("inference_davis.py", *_DETR, *_DAVIS, *_RESUME),
            output="{run}/output/valid",
            annotators=ANNOTATORS,
            needs=("{repo}/inference_davis.py",),
        ),
        "ytvos": Door(
            questions="ytvos",
            window="window",
            arguments=(_OPTIMISED, "inference_ytvos.py", *_DETR, *_YTVOS, *_RESUME),
            output="{run}/output/valid",
            needs=("{repo}/inference_ytvos.py",),
        ),
    },
    options={"backbone": "video_swin_b_p4w7", "gpus": "1", "window": "36"},
    environment=_MODERN,
    traps=(
        "--ngpu is 8 by default, one process each; a process that dies is not noticed, the exit code is 0",
        "the query is chosen anew every 36 frames (davis); the program for Ref-YouTube-VOS chooses once per video",
        "--threshold is ignored by the davis program",
        "its joint Video-Swin-B model scores higher than the row of the paper: say which one you ran",
    ),
)

MUTR = Recipe(
    name="mutr",
    title="MUTR (Yan et al., AAAI 2024)",
    licence="MIT",
    url="https://github.com/OpenGVLab/MUTR",
    weights="a checkpoint of its README (Google Drive); the paper's row is Swin-L",
    doors={
        "davis": Door(
            questions="davis4",
            arguments=("{repo}/inference_davis.py", *_DETR, *_DAVIS),
            folder="{run}",
            output="{run}/results/{backbone}/eval/davis/weights/valid",
            annotators=_MUTR_NAMES,
            needs=("{repo}/inference_davis.py",),
            copies={"{run}/results/{backbone}/ckpt/weights.pth": "{weights}"},
            dies_after="it then scores itself against ./data/ref-davis/DAVIS, which is not there",
        ),
        "ytvos": Door(
            questions="ytvos",
            window="window",
            arguments=(
                *(_OPTIMISED, "{repo}/inference_ytvos.py", *_DETR, *_YTVOS, *_DAVIS),
                *("--test_num_ckpt", "-1"),
            ),
            folder="{run}",
            output="{run}/results/{backbone}/eval/ytvos/refytvos2021_valid_{backbone}_ckpt_weights/Annotations",
            needs=("{repo}/inference_ytvos.py",),
            copies={"{run}/results/{backbone}/ckpt/weights.pth": "{weights}"},
        ),
    },
    options={"backbone": "swin_l_p4w7", "gpus": "1", "window": "36"},
    environment=_MODERN,
    traps=(
        "--resume and --output_dir are overwritten with results/<backbone>/ below the folder it is started in, which "
        "is why it is started in the run's own",
        "with several checkpoints in results/<backbone>/ckpt it takes the last but one; with one, the ytvos program "
        "fails without --test_num_ckpt -1",
        "windows of 64 frames at 432 pixels (davis): 40 GB or more; -o door=ytvos with a window of 36 needs less",
        "its scripts/dist_test_davis.sh wants the backbone as first argument, unlike its README",
    ),
)

SGMG = Recipe(
    name="sgmg",
    title="SgMg (Miao et al., ICCV 2023)",
    licence="CC-BY-NC-4.0",
    url="https://github.com/bo-miao/SgMg",
    weights="a checkpoint of its README (Google Drive)",
    doors={
        "davis": Door(
            questions="davis4-480p",
            arguments=(
                *("inference_davis.py", *_DETR, "--eval", "--amp"),
                *("--backbone_pretrained", "{backbone_pretrained}", *_DAVIS, *_RESUME),
            ),
            output="{run}/output/DVS_Annotations",
            annotators=ANNOTATORS,
            needs=("{repo}/inference_davis.py",),
        ),
        "ytvos": Door(
            questions="ytvos",
            window="window",
            arguments=(
                *(_OPTIMISED, "inference_ytvos.py", *_DETR, "--eval", "--amp"),
                *("--backbone_pretrained", "{backbone_pretrained}", *_YTVOS, *_RESUME),
            ),
            output="{run}/output/Annotations",
            needs=("{repo}/inference_ytvos.py",),
        ),
    },
    options={"backbone": "video_swin_b_p4w7", "backbone_pretrained": "", "gpus": "1", "window": "36"},
    environment=_MODERN,
    traps=(
        "the davis program reads frames from valid/JPEGImages/480p, unlike all others",
        "ftfy and regex are imported but not in its requirements.txt",
        "-o backbone_pretrained=FILE names the Video-Swin weights, where the clone asks for them",
    ),
)

VDIT = Recipe(
    name="vdit",
    title="VD-IT, the authors' code (Zhu et al., ECCV 2024)",
    licence="CC-BY-NC-4.0 (LICENSE file; the README's badge says Apache-2.0); its backbone is CC-BY-NC-4.0",
    url="https://github.com/buxiangzhiren/VD-IT",
    weights="huggingface.co/buxiangzhiren/VD-IT; which of the two published rows it is, is not said",
    doors={
        "davis": Door(
            questions="davis4",
            arguments=("inference_davis.py", *_DETR, "--eval", "--amp", *_DAVIS, *_RESUME),
            output="{run}/output/DVS_Annotations",
            annotators=ANNOTATORS,
            needs=(
                "{repo}/inference_davis.py",
                "{repo}/Text-To-Video-Finetuning/mymodels/model_scope_diffusers",
            ),
        ),
    },
    options={"backbone": "itcross_video_swin", "gpus": "1"},
    environment="""Its two requirements files contradict each other. A guess from reading the imports, not executed:

```
python3.10 -m venv env && . env/bin/activate
pip install "torch==2.5.*" "torchvision==0.20.*" "transformers==4.36.*" "diffusers==0.25.*" "accelerate>=0.25,<1" \\
    "numpy<2" "timm==0.9.*" einops fvcore pycocotools scipy opencv-python-headless matplotlib ftfy regex tqdm \\
    decord omegaconf loralib
cd VD-IT && git clone https://huggingface.co/ali-vilab/text-to-video-ms-1.7b \\
    Text-To-Video-Finetuning/mymodels/model_scope_diffusers
```

- Imports that are never used must resolve: decord, loralib, accelerate, omegaconf.
- It fetches laion/CLIP-ViT-H-14-laion2B-s32B-b79K and roberta-base at the first start.
- A window of 36 frames needs about 80 GB; otherwise lower `crop_len = 36` in inference_davis.py, and say so.
""",
    traps=(
        "its program for Ref-YouTube-VOS sets CUDA_VISIBLE_DEVICES=7: only the davis program is used here",
        "a GPU is needed, .cuda() is written out",
        "the model's path is relative: it must be started in the clone",
    ),
)

UNINEXT = Recipe(
    name="uninext",
    title="UNINEXT (Yan et al., CVPR 2023)",
    licence="MIT",
    url="https://github.com/MasterBin-IIAU/UNINEXT",
    weights="video_joint_vit_huge/model_final.pth of its model zoo (OneDrive); the paper's row is ViT-H",
    doors={
        "ytvos": Door(
            questions="uninext",
            window="window",
            arguments=(
                *("launch.py", "--nn", "1", "--np", "{gpus}"),
                *("--eval-only", "--uni", "1", "--config-file", "{config}", "--resume"),
                *("OUTPUT_DIR", "{run}/output", "DATASETS.TEST", '("rvos-refytb-val",)'),
            ),
            shell=5,
            output="{run}/output/Annotations",
            needs=("{repo}/launch.py", "{repo}/{config}", "{repo}/projects/UNINEXT/bert-base-uncased"),
            copies={"{run}/output/model_final.pth": "{weights}"},
            texts={
                "{run}/output/last_checkpoint": "model_final.pth",
                "{run}/bin/python3": '#!/bin/sh\nexec "{python}" "$@"',
            },
            variables={"DETECTRON2_DATASETS": "{questions}"},
        ),
    },
    options={
        "config": "projects/UNINEXT/configs/eval-vid/video_joint_vit_huge_eval_rvos.yaml",
        "gpus": "1",
        "window": "0",
    },
    environment="""As its assets/INSTALL.md says: Python 3.7, torch 1.10 with CUDA 11.3, its own detectron2 built from
the clone (C++ and CUDA; the replacement of the deformable operator does not save this), a fork of cocoapi:

```
pip install -e UNINEXT
pip install "git+https://github.com/XD7479/cocoapi.git#subdirectory=PythonAPI" "shapely==1.7.1" "black==21.4b2"
pip install timm einops transformers motmetrics scikit-image
mkdir -p projects/UNINEXT/bert-base-uncased   # config.json, vocab.txt and pytorch_model.bin of bert-base-uncased
```
""",
    traps=(
        "launch.py hands its arguments to a shell again and starts python3 from PATH: parentheses must be quoted "
        "twice, and the run puts its interpreter first on PATH",
        "frames are answered one by one, and one query of 900 is always taken: it never abstains",
        "all frames of a video are held in memory, 2 GB for 408; -o window=N cuts",
        "--np is 8 by default; DATASETS.TEST names five sets by default",
    ),
)

REM = Recipe(
    name="rem",
    title="REM, the authors' code (Bagchi et al., ICCV 2025)",
    licence="CC-BY-4.0 (badge of the README, no LICENSE file); ModelScope's weights are CC-BY-NC-4.0",
    url="https://github.com/miccooper9/ReferEverything",
    weights="the ModelScope checkpoint of huggingface.co/anuragba/refereverything",
    doors={
        "davis": Door(
            questions="davis4",
            arguments=(
                *("infer_davis_MS.py", "--device", "{device}", "--exps", "", "--resume", "{weights}"),
                *("--num_frames", "72", "--davis_path", "{questions}", "--davis_anno_path", "{run}/no-davis"),
                *("--output_dir", "{run}/output", "--name_prefix", "refvps"),
            ),
            folder="{repo}/ref-davis",
            output="{run}/output/refvps_72/val_vis/r_davis_*",
            annotators=ANNOTATORS,
            objects=True,
            needs=("{repo}/ref-davis/infer_davis_MS.py",),
            variables={"WANDB_MODE": "disabled"},
            dies_after="it then scores itself against DAVIS, which is not there",
        ),
    },
    options={"device": "cuda:0"},
    environment="""`conda env create -f MS_env.yml` of the clone (Python 3.10, torch 1.13.1, diffusers 0.15.0,
transformers 4.31.0). Its xformers 0.0.22.post7 does not fit torch 1.13.1: install the xformers that your torch names.
""",
    traps=(
        "it must be started in ref-davis/, its imports are relative to that",
        "--half halves the resolution to 256, which costs more than 20 points; it is not fp16",
        "noise is drawn anew for each window from one seed: masks depend on the order of the clips",
        "the last window of a clip may decode empty batches, which newer diffusers refuse",
        "the number of frames, 72, is written into the program",
    ),
)

RECIPES = {each.name: each for each in (REFERFORMER, MUTR, SGMG, UNINEXT, VDIT, REM)}
"""Methods that ``baselines run`` runs, by name."""

_BY_HAND = (
    "refvps export benchmark --layout ytvos --window 36 --out questions; {command}; "
    "refvps import --layout {layout} {place} --out preds/ --method {name}"
)

ROWS = {
    each.name: each
    for each in (
        Row(
            "vlmo-l",
            "VLMO-L, also VLP-RVOS (Zhou et al., 2024)",
            "none stated",
            "https://github.com/xwt909090/VLP-RVOS",
            "cannot be run: its repository lacks the models and there is no checkpoint. Its numbers are in "
            "refvps report, as reported",
        ),
        Row(
            "mttr",
            "MTTR (Botach et al., CVPR 2022)",
            "Apache-2.0",
            "https://github.com/mttr2021/MTTR",
            "pure PyTorch, weights by torch.hub.load('mttr2021/MTTR:main', 'mttr_refer_youtube_vos'). "
            + _BY_HAND.format(
                command="its evaluation on Ref-YouTube-VOS", layout="tree", place="OUT/Annotations", name="mttr"
            ),
        ),
        Row(
            "samwise",
            "SAMWISE (Cuttano et al., CVPR 2025)",
            "Apache-2.0",
            "https://github.com/ClaudiaCuttano/SAMWISE",
            _BY_HAND.format(
                command="python3 -O inference_ytvos.py --resume W --name_exp X --HSA --use_cme_head",
                layout="tree",
                place="output/X/Annotations",
                name="samwise",
            ),
        ),
        Row(
            "sa2va",
            "Sa2VA (Yuan et al., 2025)",
            "Apache-2.0",
            "https://github.com/magic-research/Sa2VA",
            "questions go to DATA/video_datas/rvos, whole clips (no --window). "
            + _BY_HAND.replace(" --window 36", "").format(
                command="sa2va_eval_ref_vos.py MODEL --dataset REFYTVOS --data_root DATA --submit --work_dir OUT",
                layout="tree",
                place="OUT/Annotations",
                name="sa2va",
            )
            + ". It shows the language model the first frames only; made with SAM 2, as Ref-VPS's masks were",
        ),
    )
}
"""Methods without an adapter, by name, and what to do instead."""
