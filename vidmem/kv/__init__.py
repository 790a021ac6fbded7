"""KV caches as memory: blocks of keys and values that leave the accelerator, rest in RAM and on disk, and come back.

    writer = StreamWriter(family, family.layout, family.rotary, opening)     # a text model, through its adapter
    for block in writer.write(family.frames(images, spans)):                 # a clip
        store.append(block)
        sizes.append(len(block))
        index.append(landmarks([head_keys(block, heads)], heads), 1)         # in a store eight blocks share them
    asking = QuestionQueries(assemble(writer.opening), family.rotary, question.positions, heads)
    with suppress(AllTaken):
        family.run(question, asking)                                         # as far as the last of the heads' layers
    chosen = choose(fuse([index.ranking(asking.queries, 8), external]), sizes, Budget(14_000))
    context = assemble(writer.opening, retrieved=store.fetch(chosen))
    for piece in Dialogue(family, context).say("When did it rain?", max_new_tokens=64): ...

- `block`, `tokens`: what is carried, and what a text model is fed.
- `rope`, `attention`: positions and attention of keys held before RoPE; pure functions.
- `slab`, `writer`: a stream becomes blocks, exactly or through a window.
- `heads`, `landmarks`, `landmark_index`, `scan`: which heads look for things, and what is looked at.
- `context`, `recall`, `asking`: what a question brings back, and in what it is asked; `representatives` are ReKV's.
- `compress`, `known`, `usage`, `consolidate`: fewer tokens a frame, what is attended to, and the long-term gist.
- `quantise`, `tiers`, `segments`: blocks as bytes, on the accelerator, in RAM and on disk.

No model is known here: `vidmem.models.families` has the adapters, `vidmem.models.kv_dialogue` the answers.
"""
