"""Adapters to families of video-LLMs: how each sees frames, marks their time and places their tokens."""
