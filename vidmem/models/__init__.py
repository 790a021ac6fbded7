"""Adapters to the models: frame encoder (open_clip), video-LLM (transformers), presets, and the embedded models.

Nothing heavy is imported here; `encoder` and `language` bring torch, open_clip and transformers where they are used.
"""
