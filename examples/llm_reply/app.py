"""A model replies to customers. Which of two prompts do a judge and the customers like better?

Run it with ``python -m examples.llm_reply``. A worker runs the same code:
``celery -A examples.llm_reply.app worker``. The model is a stand-in: see chat.py.
"""

import os

from celery import Celery
from pydantic import BaseModel, Field

from celery_defer import (
    Defer,
    Event,
    Score,
    bucket,
    current_run,
    defer,
    experiment,
    scorer,
    step,
)
from examples.llm_reply.chat import Client, StandIn

REDIS_URL = os.environ.get("LLM_REPLY_REDIS_URL", "redis://localhost:6379/0")
# For how long a thumb counts.
PATIENCE = os.environ.get("LLM_REPLY_PATIENCE", "7d")

app = Celery("llm_reply", broker=REDIS_URL, backend=REDIS_URL)
# With Celery's defaults, a worker that is killed would lose the run.
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)
Defer(app)

client: Client = StandIn()  # or OpenAI()

PLAIN = "Answer the customer's question in one sentence."
WARM = "Greet the customer, answer the question in one sentence, and offer more help."
RUBRIC = (
    'Give marks from 0 to 1 to a reply, as JSON: {"relevance": does it answer the question, '
    '"tone": is it friendly}.'
)


class Marks(BaseModel):
    relevance: float = Field(ge=0, le=1)
    tone: float = Field(ge=0, le=1)


class Thumb(BaseModel):
    reply: str  # the id of the run that replied
    up: bool


thumb = Event("reply/thumb", Thumb)


def ask(model: str, system: str, user: str) -> str:
    """Ask a model, in a step: so it is asked, and paid, once, however often the run is retried."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    completion = client.chat.completions.create(model=model, messages=messages)
    return completion.choices[0].message.content or ""


@scorer(app)
def judge(question: str, answer: str) -> list[Score]:
    """Score at once: another model gives marks."""
    text = step.run("judge", ask, "judge", RUBRIC, f"{question}\n{answer}")
    marks = Marks.model_validate_json(text)
    return [
        Score("relevance", marks.relevance, source="judge"),
        Score("tone", marks.tone, source="judge"),
    ]


@scorer(app)
def feedback(reply: str) -> Score | None:
    """Score later: wait for the customer's thumb. No thumb is no score, and not a bad one."""
    given = step.wait_for_event("thumb", thumb, timeout=PATIENCE, match={"reply": reply})
    return Score("thumb", given.data.up, source="customer") if given else None


@app.task
def reply(customer: str, question: str) -> str:
    def write(prompt: str) -> str:
        return step.run("write", ask, "writer", prompt, question)

    written = experiment(
        "reply-prompt",
        {"plain": lambda: write(PLAIN), "warm": lambda: write(WARM)},
        select=bucket(customer),  # a customer always takes the same prompt
    )
    # Both scores count for the prompt that this run has taken.
    defer("judge", judge, question=question, answer=written.result)
    defer("feedback", feedback, reply=current_run().id)
    return written.result
