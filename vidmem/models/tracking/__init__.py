"""The parts of `vidmem.models.tracker`: prompts, results, the network's calls, and how memory is chosen."""
