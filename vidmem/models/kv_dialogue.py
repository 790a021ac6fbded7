"""Questions and answers on one assembled context, with transformers' own `generate`."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import Queue
from typing import Any

import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv.attention import Tables, attend
from vidmem.kv.context import Context
from vidmem.kv.rope import place, rotate
from vidmem.kv.tokens import Tokens, join
from vidmem.models.chat import Chat, StreamDecoder
from vidmem.models.families.family import Family
from vidmem.models.turns import follow_up_ids


class Dialogue:
    """A context, rotated once into a cache of transformers, that grows by every turn.

    The context itself is copied and never changed. One thread at a time may use a dialogue; several dialogues may use
    one model at the same time.
    """

    def __init__(self, family: Family, context: Context) -> None:
        self._family = family
        self._cache = rotated_cache(family, context)
        self._next = context.next
        self._pending: list[int] = []
        self._has_begun = False

    @property
    def num_tokens(self) -> int:
        """Tokens in the cache's first layer: the context's and those of all turns, but for the newest one said."""
        return int(self._cache.get_seq_length())

    def say(self, question: str, *, max_new_tokens: int, **settings: Any) -> Generator[str, None, None]:
        """Put a question in the checkpoint's own chat form and stream the answer's text, piece by piece, as `ask`.

        The context must begin with the chat's opening (`Chat.ids(...).opening`).
        """
        tokenizer = self._family.tokenizer
        if self._has_begun:
            ids = follow_up_ids(tokenizer, question)
            if self._pending and ids[0] == self._pending[-1]:
                ids = ids[1:]  # the answer ended by itself, with the token that ends its turn
            answer = self.ask(ids, max_new_tokens=max_new_tokens, **settings)
        else:
            ids = Chat(tokenizer).ids(question).closing
            before = self._family.after_frames()
            answer = self.ask(ids, before=before, max_new_tokens=max_new_tokens, **settings)
        return self._texts(answer)

    def _texts(self, answer: Generator[int, None, None]) -> Generator[str, None, None]:
        decoder = StreamDecoder(self._family.tokenizer)
        with closing(answer):
            for token_id in answer:
                if piece := decoder.add(token_id):
                    yield piece
        if piece := decoder.end():
            yield piece

    def ask(
        self, prompt_ids: Sequence[int], *, before: Tokens | None = None, max_new_tokens: int, **settings: Any
    ) -> Generator[int, None, None]:
        """Put a turn of the user and stream the answer's token ids, the one that ends it among them.

        Work begins with the first id asked for; closing the iterator ends it. What was said until then is part of the
        dialogue. An error leaves the dialogue as it was before the turn.

        Args:
            prompt_ids: the turn with the text around it, up to where the answer begins; after a turn that ended by
                an end-of-turn token, without that token.
            before: what goes in front of them as embeddings (`Family.after_frames`).
            settings: passed on to `generate`; greedy if there are none.

        Raises:
            BadInput: the dialogue would become longer than the model takes.
        """
        if not prompt_ids:
            raise ValueError("a turn needs at least one token")
        parts = [self._family.text([*self._pending, *prompt_ids])]
        prompt = join([before, *parts]) if before is not None else parts[0]
        self._check_length(len(prompt) + max_new_tokens)
        return self._turn(prompt, int(prompt_ids[-1]), max_new_tokens, settings)

    def _turn(
        self, prompt: Tokens, last_id: int, max_new_tokens: int, settings: dict[str, Any]
    ) -> Generator[int, None, None]:
        before, said = [_length(layer) for layer in self._cache.layers], list[int]()
        try:
            positions = place([prompt.positions], start=self._next)
            self._prefill(prompt, positions.positions)
            generation = _Generation(max_new_tokens)
            try:
                generation.start(self._family.model, self._generate_inputs(last_id, positions.next - 1), settings)
                for token_id in generation.ids():
                    said.append(token_id)
                    yield token_id
            finally:
                generation.stop()
                said.extend(generation.ids_left())
        except GeneratorExit:
            raise
        except BaseException:
            # Layer by layer: the one that failed, and those after it, did not grow.
            for layer, length in zip(self._cache.layers, before, strict=True):
                layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]
            said.clear()
            raise
        finally:
            if said:
                in_cache = self.num_tokens - before[0] - len(prompt)
                self._has_begun, self._pending = True, said[in_cache:]
                self._next = positions.next + in_cache

    def _prefill(self, prompt: Tokens, positions: Tensor) -> None:
        """All of a prompt but its last token, which is left to `generate`, so that it has something to begin with."""
        if len(prompt) > 1:
            self._family.run(prompt.but_last(), _IntoCache(self._cache, self._family.rotary.tables(positions[:, :-1])))

    def _generate_inputs(self, last_id: int, position: int) -> dict[str, Any]:
        device = self._family.device
        where = torch.full((self._family.num_axes, 1), position)
        return {
            "input_ids": torch.tensor([[last_id]], device=device),
            # Both are needed: without a mask over the cache the ids are cut away, without positions M-RoPE models take
            # those of an earlier request (spec/transformers-kv.md, 6.6).
            "attention_mask": torch.ones(1, self.num_tokens + 1, dtype=torch.long, device=device),
            "position_ids": self._family.position_ids(where),
            "past_key_values": self._cache,
        }

    def _check_length(self, num_new: int) -> None:
        limit = int(self._family.decoder.config.max_position_embeddings)
        longest = max(_length(layer) for layer in self._cache.layers)
        if longest + num_new > limit:
            raise BadInput(
                f"the context's {longest} tokens, the question and the answer make {longest + num_new} tokens and the "
                f"model takes {limit}: lower the budget of the context."
            )


def _length(layer: Any) -> int:
    return int(layer.keys.shape[2])


def rotated_cache(family: Family, context: Context) -> Any:
    """A `DynamicCache` of a context's keys, turned to where they stand, and values; it shares no memory with it."""
    from transformers import DynamicCache

    cache = DynamicCache(config=family.decoder.config)
    tables = family.rotary.tables(context.layers[0].positions)
    for layer_index, layer in enumerate(context.layers):
        if layer.positions is not context.layers[0].positions:
            tables = family.rotary.tables(layer.positions)
        keys = rotate(layer.key.to(family.device), *tables)
        cache.update(keys[None], layer.value[None].to(family.device), layer_index)
    return cache


@dataclass(frozen=True, slots=True, eq=False)
class _IntoCache:
    """New tokens attend to a cache and are put into it (`LayerAttention`).

    Stock attention would do for layers of one length: it has one mask for all, made for the first.
    """

    cache: Any
    tables: Tables

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        keys, values = self.cache.update(rotate(key, *self.tables)[None], value[None], layer_index)
        return attend(rotate(query, *self.tables), keys[0], values[0], scale=scale)


class _Generation:
    """`generate` in a thread, that hands out ids as they come and stops when told. Also its streamer."""

    def __init__(self, max_new_tokens: int) -> None:
        self._max_new_tokens = max_new_tokens
        # Room for all that can come, so that the thread never waits for a reader that has gone.
        self._queue: Queue[int | None] = Queue(max_new_tokens + 2)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._is_prompt = True

    def start(self, model: Any, inputs: dict[str, Any], settings: dict[str, Any]) -> None:
        self._thread = threading.Thread(target=self._run, args=(model, inputs, settings), name="vidmem-generate")
        self._thread.start()

    def _run(self, model: Any, inputs: dict[str, Any], settings: dict[str, Any]) -> None:
        from transformers import StoppingCriteriaList

        try:
            model.generate(
                **inputs,
                max_new_tokens=self._max_new_tokens,
                streamer=self,
                stopping_criteria=StoppingCriteriaList([self._should_stop]),
                **{"do_sample": False, **settings},
            )
        except BaseException as error:
            self._error = error
        finally:
            self._queue.put(None)

    def _should_stop(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.full((len(input_ids),), self._stopped.is_set(), device=input_ids.device)

    def put(self, value: Tensor) -> None:
        """Take new ids from `generate`, which sends the prompt's first."""
        if self._is_prompt:
            self._is_prompt = False
            return
        for token_id in value.flatten().tolist():
            self._queue.put(token_id)

    def end(self) -> None:
        """`generate` has no more ids."""

    def ids(self) -> Iterator[int]:
        """Ids as they come. Raises what `generate` raised."""
        while (token_id := self._queue.get()) is not None:
            yield token_id
        if self._error is not None:
            raise self._error

    def ids_left(self) -> list[int]:
        """Ids that came and were not taken, once it has stopped."""
        left = []
        while not self._queue.empty():
            if (token_id := self._queue.get()) is not None:
                left.append(token_id)
        return left

    def stop(self) -> None:
        """End after the step that is under way, and wait for that."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
