"""KV caches as memory: blocks of keys and values that leave the accelerator, rest in RAM and on disk, and come back.

    writer = StreamWriter(family, family.layout, family.rotary, opening)     # a text model, through its adapter
    for block in writer.write(family.frames(images, spans)):                 # a clip
        block_id = store.append(block)
        representatives.append(block)
    asking = QuestionScores(assemble(writer.opening), representatives, family.rotary, question.positions)
    family.run(question, asking)                                             # the model's own queries score all blocks
    chosen = choose(fuse([asking.ranking(1000), external]), representatives.block_tokens, Budget(14_000))
    context = assemble(writer.opening, retrieved=store.fetch(chosen))
    for piece in Dialogue(family, context).say("When did it rain?", max_new_tokens=64): ...

- `block`, `tokens`: what is carried, and what a text model is fed.
- `rope`, `attention`: positions and attention of keys held before RoPE; pure functions.
- `slab`, `writer`: a stream becomes blocks, exactly or through a window.
- `context`, `representatives`, `recall`, `asking`: what a question brings back, and in what it is asked.
- `compress`, `usage`, `consolidate`: fewer tokens a frame, what is attended to, and the long-term gist; both optional.
- `quantise`, `tiers`, `segments`: blocks as bytes, on the accelerator, in RAM and on disk.

No model is known here: `vidmem.models.families` has the adapters, `vidmem.models.kv_dialogue` the answers.
"""
