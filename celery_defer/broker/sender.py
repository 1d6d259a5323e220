"""How one message gets into a batch: by its task, by Celery's functions, or by a template."""

from __future__ import annotations

from typing import Any

from celery.app.task import Task

from celery_defer import guard
from celery_defer.broker.batch import Batch, BrokerError
from celery_defer.broker.connection import is_outage
from celery_defer.broker.message import Message
from celery_defer.broker.template import TemplateSet, is_replaced, write
from celery_defer.current import extension_of
from celery_defer.ids import RunId
from celery_defer.text import masked, safe_repr, text_of

logger = guard.logger(__name__)

# The parameters of celery.app.amqp.AMQP.as_task_v2 that are written into the message. The other
# publishing options say where it goes.
_CARRIED = frozenset(
    {"group_id", "group_index", "shadow", "chord", "chain", "retries", "origin", "reply_to"}
    | {"soft_time_limit", "time_limit", "replaced_task_nesting", "ignore_result"}
    | {"stamped_headers", "expires"}
)
_TIMED = frozenset({"countdown", "eta", "expires"})


# How much of an error is told, in characters.
_LONGEST = 300


class Sender:
    """Makes messages, and puts them into one batch."""

    def __init__(self, app: Any, batch: Batch) -> None:
        self._app = app
        self._batch = batch
        self._is_fast = extension_of(app).settings.fast_messages
        self._templates = TemplateSet(app, batch)
        self._patched: dict[str, bool] = {}
        #: The runs that their task's ``apply_async`` did not publish, and why.
        self.dropped: dict[RunId, str] = {}
        #: Those that it did publish.
        self.passed: set[RunId] = set()
        #: The runs whose message cannot be made, and why.
        self.refused: dict[RunId, str] = {}

    def sends(self, message: Message) -> bool:
        """Publish one message, or note that it is dropped; return False if it cannot be made.

        That is logged. It may be made later if only a service that a router asks is away, say.
        Raises BrokerError for a message that is made, and that the broker does not take.
        """
        with guard.logged(
            logger,
            "run %s (%s) cannot be published",
            message.id,
            message.task,
            unless=BrokerError,
            about=message.about,
        ):
            self._try(message)
            return True
        return False

    def _try(self, message: Message) -> None:
        try:
            self._publish(message)
        except BrokerError:
            raise
        except Exception as error:
            if not is_outage(error):
                self.refused[message.id] = masked(text_of(error, _LONGEST))
            raise

    def _publish(self, message: Message) -> None:
        if message.target is not None and self._needs_apply_async(message):
            self._publish_by_task(message)
            return
        kind = self._templates.kind_of(message)
        template = self._templates.find(kind)
        if template is not None:
            self._batch.send(self._batch.put, write(message, template))
            return
        headers, queue = self._publish_by_celery(message)
        if kind is not None:
            self._templates.learn(kind, message, headers, queue)

    def _needs_apply_async(self, message: Message) -> bool:
        """Whether the message needs Celery's ``apply_async``.

        It knows what countdown, eta and expires mean to each broker, and task classes and tools
        that watch Celery may override it.
        """
        task, app = message.target, self._app
        if not self._is_fast or task.expires is not None or _TIMED & message.options.keys():
            return True
        if task.name not in self._patched:
            is_patched = _is_patched(task, "apply_async") or _is_patched(app, "send_task")
            self._patched[task.name] = is_patched
        return self._patched[task.name]

    def _publish_by_task(self, message: Message) -> None:
        options = {name: value for name, value in message.options.items() if name != "reply_to"}
        producer = _Counting(self._batch.producer)
        call: dict[str, Any] = dict(
            args=tuple(message.args),
            kwargs=dict(message.kwargs),
            task_id=message.id,
            root_id=message.root_id,
            parent_id=message.parent_id,
            headers=dict(message.headers),
            producer=producer,
            add_to_parent=False,
            retry=False,
            **options,
        )
        if message.has_passed and has_own_way(message):
            Task.apply_async(message.target, **call)
            return
        result = message.target.apply_async(**call)
        if producer.count:
            self.passed.add(message.id)
            return
        if getattr(result, "id", None) == message.id:
            # It takes this run for its own duplicate, because an earlier message did not arrive.
            Task.apply_async(message.target, **call)
        else:
            self.dropped[message.id] = _reason(message, result)

    def _publish_by_celery(self, message: Message) -> tuple[frozenset[str], Any]:
        """Do what celery.app.base.Celery.send_task does; return the headers and the queue.

        send_task itself would also make the run a child of the task in progress, and listen for
        its result.
        """
        amqp, target = self._app.amqp, message.target
        options = {**_declared(message), **message.options}
        callbacks, errbacks = options.pop("link", None), options.pop("link_error", None)
        carried = {name: options.pop(name) for name in _CARRIED & options.keys()}
        stamps = {name: options.pop(name, None) for name in carried.get("stamped_headers") or ()}
        task_message = amqp.create_task_message(
            message.id,
            message.task,
            tuple(message.args),
            dict(message.kwargs),
            callbacks=callbacks,
            errbacks=errbacks,
            root_id=message.root_id,
            parent_id=message.parent_id,
            create_sent_event=target is not None and self._app.conf.task_send_sent_event,
            **carried,
            **stamps,
        )
        route = amqp.router.route(options, message.task, message.args, message.kwargs, target)
        headers = frozenset(task_message.headers) | message.headers.keys()
        amqp.send_task_message(
            self._batch.producer,
            message.task,
            task_message,
            headers=dict(message.headers),
            retry=False,
            **route,
        )
        return headers, route.get("queue")


def has_own_way(message: Message) -> bool:
    """Whether the task of a message, or a base class of it, has an ``apply_async`` of its own.

    What has replaced Celery's own, as a tool that watches all tasks, does not count.
    """
    task = message.target
    if not isinstance(task, Task):
        return False
    return task.__class__.apply_async is not Task.apply_async or "apply_async" in vars(task)


class _Counting:
    """A producer that counts what is published."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self.count = 0

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return self._producer.publish(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


def _reason(message: Message, result: Any) -> str:
    if id := getattr(result, "id", None):
        return f"apply_async of {message.task} has published nothing, because run {id} exists"
    return f"apply_async of {message.task} has published nothing, and returned {safe_repr(result)}"


def _declared(message: Message) -> dict[str, Any]:
    """Return the publishing options of the task itself: celery.app.task.Task.apply_async."""
    task = message.target
    if task is None:
        return {}
    shadow = task.shadow_name(message.args, message.kwargs, message.options)
    options = {"ignore_result": task.ignore_result, "shadow": shadow, **task._get_exec_options()}
    options.pop("expires", None)
    return options


def _is_patched(owner: Any, name: str) -> bool:
    return name in vars(owner) or is_replaced(getattr(type(owner), name))
