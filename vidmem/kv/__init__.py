"""KV caches as memory: blocks of keys and values that leave the accelerator, rest in RAM and on disk, and come back."""
