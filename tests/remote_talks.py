"""Short talks with the misbehaving server, for the tests of the remote backend."""

from insightv_core import prompts
from insightv_core.records import Sampling
from insightv_core.vlm import Reply, Talk
from insightv_core.vlm.remote import RemoteSettings, RemoteVLM, connect

SAMPLING = Sampling(temperatures=(0.7,), max_tokens=50)


def reach(*servers, **settings) -> RemoteVLM:
    defaults = {"timeout": 5.0, "backoff": 0.01, "tries": 4}
    return connect(RemoteSettings(tuple(server.url for server in servers), **(defaults | settings)))


def talk(key="q", samples=(0,), text="How many?", **more) -> Talk:
    return Talk(key, prompts.ask(text, prompts.GENERATE, described="a red square"), samples=samples, **more)


def look(picture, key="q", samples=(0,), **more) -> Talk:
    return Talk(key, prompts.ask("How many?", prompts.GENERATE), (picture,), samples, **more)


def turns(count):
    """Say "more" until there are `count` replies."""
    return lambda replies: "more" if len(replies) < count else None


def hold(vlm, *talks, sampling=SAMPLING, **more):
    """Return the conversations by (key, sample)."""
    return {(each.key, each.sample): each.replies for each in vlm.converse(talks, sampling, **more)}


def only(vlm, *arguments, **more) -> Reply:
    """Return the one reply of a talk of one sample and turn."""
    ((reply,),) = hold(vlm, talk(*arguments), **more).values()
    return reply
