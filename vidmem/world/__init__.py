"""The sample world: a scripted, rendered world whose every fact is known.

`script` says what happens, `render` draws it, `video` makes moving pictures of it, `questions` asks about it and grades
answers, `truth` writes all that is true beside a video, `needle` hides things in hours of it, `words` speaks of it,
`tracking` makes clips to follow objects in.
The same seed and length give the same world on every machine, at any frame size, from any moment on.
"""
