"""A model that says what it is told to: for tests, and for trying a stage without one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from insightv_core.records import ModelVersion, Sampling
from insightv_core.vlm import ERROR, STOP, Conversation, Event, Reply, Talk, Usage


@dataclass
class ScriptedVLM:
    """Give the scripted replies of a talk in order, the same to each of its samples.

    `script` maps (talk, sample) to the replies; an exception in their place is an error reply. A conversation that
    wants more replies than scripted ends with an error reply. `talks` keeps what was asked, for tests to look at.
    """

    script: Callable[[Talk, int], list[str | Exception]]
    version: ModelVersion = ModelVersion("scripted", "scripted")
    talks: list[Talk] = field(default_factory=list)
    replies_given: int = 0

    def converse(
        self, talks: Iterable[Talk], sampling: Sampling, *, adapter=None, listen=None, stop=None
    ) -> Iterator[Conversation]:
        """Hold the talks one after the other."""
        for talk in talks:
            self.talks.append(talk)
            for sample in talk.samples:
                if stop is not None and stop():
                    return
                yield Conversation(talk.key, sample, tuple(self._hold(talk, sample, listen)))

    def usage(self) -> Usage:
        """Return the number of replies given."""
        return Usage(requests=self.replies_given)

    def _hold(self, talk: Talk, sample: int, listen) -> Iterator[Reply]:
        replies: list[Reply] = []
        for scripted in [*self.script(talk, sample), RuntimeError("the script has no further reply")]:
            failed = isinstance(scripted, Exception)
            text = str(scripted)
            reply = Reply(text, len(text.split()), None if failed else 0.0, ERROR if failed else STOP, 0.0)
            self.replies_given += 1
            replies.append(reply)
            yield reply
            if listen is not None:
                listen(Event(talk.key, sample, len(replies) - 1, text, True))
            if failed or talk.next_turn(replies) is None:
                return
