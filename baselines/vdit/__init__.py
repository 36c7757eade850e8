"""VD-IT re-implemented: a frozen text-to-video UNet as the visual backbone of referring video segmentation.

Zhu et al., "Exploring Pre-trained Text-to-Video Diffusion Models for Referring Video Object Segmentation",
ECCV 2024, arXiv 2403.12042. Written from the equations and tables of the paper and its supplement; no code of the
authors' repository, whose licence is CC BY-NC 4.0, is used. See :mod:`baselines.vdit.model` for the data flow.
"""
