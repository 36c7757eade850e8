"""Fetching files: one by its address and hash (:mod:`http`), or a repository of the Hugging Face hub (:mod:`hub`)."""
