"""How a signature is tied to the graph of a session, and the calls that this makes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tensorflow.core.protobuf import config_pb2

from serving import errors
from serving.models.failures import clean_message
from serving.models.runtime import tf

NEVER_STOPPED = math.inf
"""The time-out of runs in the caller's thread."""
_CALLERS_THREAD = -1

Call = Callable[..., list[Any]]
"""From the values fed to the list of values fetched."""


@dataclass(frozen=True)
class Wiring:
    """How a signature is tied to the graph. No part of the SignatureDef, for that keeps all of the graph in memory."""

    inputs: tuple[str, ...]
    feeds: tuple[str, ...]
    """The tensor fed for each of `inputs`."""
    fetches: tuple[str, ...]
    """The tensors to compute, each once; one that is fed cannot be fetched as well."""
    places: Mapping[str, int]
    """Where each output is found among the values fetched, followed by those fed."""
    obstacle: str
    """Why the signature cannot be run; "" when nothing is seen."""

    @classmethod
    def of(cls, definition: Any) -> "Wiring":
        """That of a SignatureDef."""
        feeds = {name: str(info.name) for name, info in sorted(definition.inputs.items())}
        outputs = {name: str(info.name) for name, info in sorted(definition.outputs.items())}
        fetches = [tensor for tensor in dict.fromkeys(outputs.values()) if tensor not in feeds.values()]
        values = [*fetches, *feeds.values()]
        places = {name: values.index(tensor) for name, tensor in outputs.items()}
        return cls(tuple(feeds), tuple(feeds.values()), tuple(fetches), places, _obstacle(feeds, outputs))

    def frozen(self, session: Any) -> "Wiring":
        """Add what a signature runs to the graph once more, with constants for variables: how that is wired."""
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph

        graph = session.graph
        ends = [fetch.partition(":")[0] for fetch in self.fetches]
        definition = convert_variables_to_constants_from_session_graph(session, graph.as_graph_def(), ends)
        with graph.as_default():
            tensors = tf.graph_util.import_graph_def(
                definition, return_elements=[*self.feeds, *self.fetches], name="frozen"
            )
        names = tuple(tensor.name for tensor in tensors)
        return replace(self, feeds=names[: len(self.feeds)], fetches=names[len(self.feeds) :])

    def tie(self, session: Any, timeout_seconds: float) -> Call:
        """A call of the signature in a session; ValueError or what TensorFlow raises when that cannot be.

        The session's private callables skip most of `Session.run`, which takes ten times as long for a small model;
        where a TensorFlow no longer has them, the public way does the same.
        """
        if self.obstacle:
            raise ValueError(self.obstacle)
        if not self.fetches or not hasattr(session, "_make_callable_from_options"):
            return self._public_callable(session, timeout_seconds)
        made: Call = session._make_callable_from_options(
            config_pb2.CallableOptions(feed=self.feeds, fetch=self.fetches, run_options=_options(timeout_seconds))
        )
        return made

    def stopped_after(self, session: Any, seconds: float) -> Call:
        """A call with its own time-out: it takes 0.2 ms more, and the first one a copy of the graph's constants.

        For a signature that was tied before, so that nothing stands against running it.
        """
        return self._public_callable(session, seconds)

    def _public_callable(self, session: Any, timeout_seconds: float) -> Call:
        if not self.fetches:
            return lambda *_: []
        options = _options(timeout_seconds)
        feeds, fetches = (
            [session.graph.get_tensor_by_name(name) for name in names] for names in (self.feeds, self.fetches)
        )

        def run(*values: Any) -> list[Any]:
            try:
                return list(session.run(fetches, dict(zip(feeds, values, strict=True)), options))
            except ValueError as error:  # a shape that is not the placeholder's, which the private callables let pass
                raise errors.InvalidArgument(clean_message(error)) from None

        return run


def _options(timeout_seconds: float) -> Any:
    if timeout_seconds == NEVER_STOPPED:
        return tf.compat.v1.RunOptions(inter_op_thread_pool=_CALLERS_THREAD)
    return tf.compat.v1.RunOptions(timeout_in_ms=max(1, round(timeout_seconds * 1000)))


def _obstacle(feeds: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    if not outputs:
        return "it has no outputs"
    composite = [name for name, tensor in (*feeds.items(), *outputs.items()) if not tensor]
    if composite:
        return f'"{composite[0]}" is not a plain tensor'
    names = {tensor: name for name, tensor in feeds.items()}
    twice = [f'"{name}" and "{names[tensor]}"' for name, tensor in feeds.items() if names[tensor] != name]
    return f"its inputs {twice[0]} are one and the same tensor" if twice else ""
