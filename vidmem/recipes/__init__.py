"""How the embedded models are trained, from nothing, on the sample world: `python -m vidmem.recipes all`.

Stages, in order: `tower` (the image encoder, by dense labels), `clip` (open_clip model on top of it),
`language` (the video-LLM with the tower frozen), `tracker` (SAM 2, on clips of its own). Each logs to a file, saves as
it goes and resumes where it stopped.
"""
