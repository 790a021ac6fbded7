"""The sample world: a scripted, rendered world whose every fact is known.

`script` says what happens, `render` draws it, `questions` asks about it and grades answers, `words` speaks of it.
The same seed and length give the same world on every machine, at any frame size, from any moment on.
"""
