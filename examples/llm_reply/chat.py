"""A chat model: the part of a real client's interface that is used here, and a stand-in for one.

The stand-in is no model. It understands nothing: it puts canned sentences together and gives
marks by a few words and a hash, so that the example needs no key and no network, and says the same
each time. A client of OpenAI, or of another provider with its interface, fits in its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

__all__ = ["Client", "StandIn"]


class Message(Protocol):
    @property
    def content(self) -> str | None: ...


class Choice(Protocol):
    @property
    def message(self) -> Message: ...


class Completion(Protocol):
    @property
    def choices(self) -> Sequence[Choice]: ...


class Completions(Protocol):
    def create(self, *, model: str, messages: Iterable[Any]) -> Completion: ...


class Chat(Protocol):
    @property
    def completions(self) -> Completions: ...


class Client(Protocol):
    """``client.chat.completions.create(model=…, messages=…).choices[0].message.content``."""

    @property
    def chat(self) -> Chat: ...


# -- the stand-in ---------------------------------------------------------------------

FACTS = {
    "parcel": "The parcel comes on Thursday.",
    "refund": "The refund takes five days.",
    "size": "Another size can be had within 30 days.",
    "invoice": "The invoice is on the page of the account.",
}


class StandIn:
    """Writes with the model ``"writer"``, and gives marks as JSON with the model ``"judge"``."""

    @property
    def chat(self) -> StandIn:
        return self

    @property
    def completions(self) -> StandIn:
        return self

    def create(self, *, model: str, messages: Iterable[Any]) -> _Completion:
        system, user = (message["content"] for message in messages)
        talk = {"writer": _reply, "judge": _marks}[model]
        return _Completion.of(talk(system, user))


def _reply(prompt: str, question: str) -> str:
    """Return the sentence for the question, but in one case of four just any; greet if asked to."""
    fact = next(FACTS[word] for word in FACTS if word in question)
    if _chance("mistake", prompt, question) < 1 / 4:
        fact = list(FACTS.values())[int(4 * _chance("which", prompt, question))]
    return f"Hello! {fact} Can I do more for you?" if "Greet" in prompt else fact


def _marks(rubric: str, conversation: str) -> str:
    """Return a mark for what is in the reply and one for its tone, each with some chance in it."""
    question, _, reply = conversation.partition("\n")
    is_relevant = any(word in question and FACTS[word] in reply for word in FACTS)
    relevance = (0.7 if is_relevant else 0.1) + 0.3 * _chance("relevance", rubric, conversation)
    tone = (0.5 if "Hello" in reply else 0.4) + 0.5 * _chance("tone", rubric, conversation)
    return json.dumps({"relevance": round(relevance, 2), "tone": round(tone, 2)})


def _chance(*words: str) -> float:
    """Return a number from 0 to 1, the same for the same words."""
    return int(sha256("\n".join(words).encode()).hexdigest()[:8], 16) / 2**32


@dataclass(frozen=True, slots=True)
class _Message:
    content: str


@dataclass(frozen=True, slots=True)
class _Choice:
    message: _Message


@dataclass(frozen=True, slots=True)
class _Completion:
    choices: list[_Choice]

    @classmethod
    def of(cls, text: str) -> _Completion:
        return cls([_Choice(_Message(text))])
