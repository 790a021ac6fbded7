"""Which frames a tracker of objects remembers: selection strategies as pure functions over small states.

A tracker in SAM 2's manner reads, for every frame and object, a few memory features and object pointers of earlier
frames, decodes K candidate masks with predicted IoUs and an object score, takes one mask and stores the frame's own
memory. A `Strategy` decides which mask is taken and which earlier frames are read:

    strategy = Samurai()
    state = strategy.prompt(None, 0, box)                 # an object is prompted on frame 0; store Record(0)
    for frame_index in range(1, num_frames):
        attentions = strategy.attend(state, frame_index)  # one run of the decoder for each, almost always one
        candidates = Candidates(ious, object_logits, boxes, num_pixels, masks)
        (choice,) = strategy.choose([state], frame_index, [candidates])
        state = choice.state                              # store choice.branches as Record(frame_index, slot)
        held = strategy.held(state)                       # free every record that is not in it

States are frozen and bounded, however long the stream: what can never be read again is in neither the state nor
`held`. `choose` takes all objects of a frame together, because the motion model computes for all of them at once.

- `plain`: SAM 2 itself. The prompts and the newest frames.
- `samurai`: a Kalman filter helps to choose the mask; memory shows the newest frames that were good.
- `dam4sam`: recent frames in steps, and anchors: frames on which something alike was told from the object.
- `sam2long`: a tree of hypotheses, each with a memory of its own.
- `kalman`, `boxes`, `components`: what they compute with.
- `*_reference`: a strategy as its authors' code has it, where we do otherwise. Parity is tested against these.
"""
