"""Which frames a tracker of objects remembers: selections as pure functions over small states.

A tracker in SAM 2's manner reads, for every frame and object, a few memory features and object pointers of earlier
frames, decodes M candidate masks with predicted IoUs and an object score, takes one mask and stores the frame's own
memory. A `Selection` decides which mask is taken and which earlier frames are read:

    selection = Samurai(limits)
    states = [selection.prompted(None, 0, found, initial=True)]      # the object's mask was made of a prompt
    for frame in range(1, num_frames):
        readings = [selection.read(state, frame) for state in states]  # frames whose memories and pointers to attend to
        found = [decode(frame, reading) for reading in readings]       # `Candidates`: masks, predicted IoUs, score
        choices = selection.choose(states, found, frame)               # choices[0] is the one to show
        states = [choice.state for choice in choices]
        kept = [selection.kept(state) for state in states]             # all other memories can be freed

A state is one pathway of one object; most selections have one. States are frozen and bounded, however long the stream:
what can never be read again is in neither the state nor `kept`. A tracker chooses a selection by name and calls
nothing but the protocol `Selection`. What SAM 2 itself does, the prompts and the newest frames, is a selection too:
`vidmem/models/tracking/plain.py`, beside the network that it is part of.

- `samurai`: a Kalman filter helps to choose the mask; memory shows the newest frames that were good.
- `dam4sam`: recent frames in steps, and anchors: frames on which something alike was told from the object.
- `sam2long`: a tree of hypotheses, each with a memory of its own.
- `recognition`: which known object something looks like, by XMem's readout over the looks of all objects.
- `novelty`: which masks show something that no other shows.
- `kalman`, `boxes`, `components`: what they compute with.
- `*_reference`: a selection as its authors' code has it, where we do otherwise. Parity is tested against these.
"""

from vidmem.memory.tracking.dam4sam import Dam4Sam
from vidmem.memory.tracking.sam2long import Sam2Long
from vidmem.memory.tracking.samurai import Samurai
from vidmem.memory.tracking.selection import Candidates, Choice, Kept, Limits, Reading, Selection

__all__ = ["Candidates", "Choice", "Dam4Sam", "Kept", "Limits", "Reading", "Sam2Long", "Samurai", "Selection"]
