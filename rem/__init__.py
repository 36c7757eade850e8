"""REM: a text-to-video diffusion model as a segmenter, by predicting mask latents (not built yet)."""
