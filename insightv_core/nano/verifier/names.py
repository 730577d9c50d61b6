"""Names as each kind of picture has them: bars by colour, angles, sides, roads and ways become one name token each."""

import re

from insightv_core.nano.scenes import BarChart, Polygon, RouteMap, Scene, Triangle
from insightv_core.nano.verifier.facts import Context, Facts
from insightv_core.nano.verifier.text import Found, Judged, Sentence, negated, rule

_COLOR = r"\$([a-z]+)"
_BAR = r"(?:bar|column|one|bars)"
_IS_COLORED = rule(
    rf"@(\S+) ((?:bar |column |is |was |are |= |: |has |shown |drawn |colored |not |in |the |color |a |which |"
    rf"that )*){_COLOR}(?: in color| in colors)?(?! (?:bar|one) (?:is|has) )"
)
_COLOR_OF = rule(rf"(?:the )?color (?:of|for) (?:the )?@(\S+) (?:bar )?((?:is |= |: |not |the )*){_COLOR}")
_COLORED_IS = rule(
    rf"(?:the )?{_COLOR} {_BAR} ((?:is |= |: |not |belongs to |stands for |shows |represents |"
    rf"the )+)@(\S+)(?: bar)?(?! [0-9])"
)
_IN_BRACKETS = rule(rf"@(\S+) (?:bar )?(?:\(|,) (?:the )?{_COLOR}(?: {_BAR})? (?:\)|,)")
_COLORED_NAME = rule(rf"(?:the )?{_COLOR}(?: {_BAR})? \( @(\S+) \)")
_THE_COLORED = rule(rf"(?:the )?{_COLOR}(?: {_BAR})?(?: (?=@(\S+)))?")

_PLACE = "@([a-h])"
_FROM_TO = rule(rf"(?:from )?{_PLACE} (?:to|-|->) {_PLACE}|between {_PLACE} and {_PLACE}")


def name_things(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Join the words of the sentence that name one thing of the picture."""
    scene: Scene = facts.scene
    if isinstance(scene, BarChart):
        _name_bars(sentence, facts)
    elif isinstance(scene, Triangle):
        _name_angles(sentence, scene)
    elif isinstance(scene, Polygon):
        _name_sides(sentence, facts)
    elif isinstance(scene, RouteMap):
        _name_roads(sentence, scene, facts)


def _name_bars(sentence: Sentence, facts: Facts) -> None:
    """Judge what colour a bar is said to have, and let "the red bar" stand for the bar's name."""
    owner = {color: name for name, color in facts.colors.items()}

    def judge(name: str, words: str, color: str) -> Found | None:
        if name not in facts.colors:
            return Found((Judged(False, f"the picture has no bar {facts.show(name)}"),))
        truth = (facts.colors[name] == color) != negated(words)
        return Found((Judged(truth, f"the {facts.show(name)} bar is {facts.colors[name]}"),), f"@{name}")

    def stand(match: re.Match) -> Found | None:
        color, name = match[1], match[2]
        if name is not None:
            return judge(name, "", color) if name in facts.colors else None
        return Found(canon="@" + owner.get(color, f"no_{color}_bar"))

    sentence.rewrite(_COLORED_NAME, lambda m: judge(m[2], "", m[1]))
    sentence.rewrite(_COLORED_IS, lambda m: judge(m[3], m[2], m[1]))
    sentence.rewrite(_COLOR_OF, lambda m: judge(m[1], m[2], m[3]))
    sentence.rewrite(_IN_BRACKETS, lambda m: judge(m[1], "", m[2]))
    sentence.rewrite(_IS_COLORED, lambda m: judge(m[1], m[2], m[3]) if m[2] else None)
    sentence.rewrite(_THE_COLORED, stand)


def _name_angles(sentence: Sentence, scene: Triangle) -> None:
    """Let "angle A", "angle BAC" and "the missing angle" stand for the corner."""
    corners = [corner.lower() for corner in scene.corners]

    def stand(match: re.Match) -> Found | None:
        corner = match[1] or match[2][1]
        return Found(canon=f"@{corner}") if corner in corners else None

    sentence.rewrite(
        rule(r"(?:the )?angles? (?:at )?(?:the )?(?:corner |point |vertex )?([a-h])|(?:the )?angle ([a-h]{3})"), stand
    )
    hidden = corners[scene.hidden]
    words = r"(?:missing|unknown|hidden|unlabeled|third|remaining|last|other|unmarked) angle"
    sentence.rewrite(
        rule(rf"(?:the )?{words}(?: \(? ?@{hidden} ?\)?| at @{hidden}| @{hidden})?|x"),
        lambda m: Found(canon=f"@{hidden}"),
    )
    sentence.rewrite(
        rule(r"(?:the )?angles? (?:at )?(?:the )?(?:corner |point |vertex )?(@[a-h])"), lambda m: Found(canon=m[1])
    )


def _name_sides(sentence: Sentence, facts: Facts) -> None:
    """Let "A to B" and "the side AB" stand for the side."""

    def stand(match: re.Match) -> Found | None:
        one, two = filter(None, match.groups())
        return Found(canon="@" + "".join(sorted(one + two))) if one != two else None

    sentence.rewrite(_FROM_TO, stand)
    sentence.rewrite(rule(r"(?:the )?(?:side|edge|line|segment) (?:from )?(@[a-h]{2})"), lambda m: Found(canon=m[1]))


def _name_roads(sentence: Sentence, scene: RouteMap, facts: Facts) -> None:
    """Let "A to C" stand for a road, and "via C" or "A to C to B" for a whole way."""
    start, end = (place.lower() for place in scene.places[:2])
    middle = (
        r"(?:via|through|over|across|by way of|passing through|passing|going through) (?:the )?(?:place |town |"
        r"point |stop )?"
    )
    join = "(?: to| -| ->|,)"

    def ends(one: str, two: str) -> bool:
        return {one, two} == {start, end}

    def way(match: re.Match) -> Found | None:
        return Found(canon=f"@via:{match[2]}") if ends(match[1], match[3]) else None

    def road(match: re.Match) -> Found | None:
        one, two = filter(None, match.groups())
        name = "".join(sorted(one + two))
        if name in facts.values:
            return Found(canon=f"@{name}")
        return Found(canon="whole way") if ends(one, two) else Found(canon=f"@{name}") if one != two else None

    sentence.rewrite(rule(rf"(?:from )?{_PLACE}{join} {_PLACE}{join} {_PLACE}"), way)
    sentence.rewrite(rule(rf"([{start}{end}])([a-h])([{start}{end}])"), way)
    sentence.rewrite(rule(rf"{middle}{_PLACE}"), lambda m: Found(canon=f"@via:{m[1]}"))
    sentence.rewrite(_FROM_TO, road)
    noun = r"(?:the )?(?:road|way|route|path|trip|distance|length|one)"
    sentence.rewrite(
        rule(
            rf"{noun} (?:length )?(?:that )?(?:goes |leads |runs |going |leading |of )?whole way (?:goes |that goes |"
            rf"going )?(@via:\S)"
        ),
        lambda m: Found(canon=m[1]),
    )
    sentence.rewrite(rule(r"whole way (@via:\S)|(@via:\S) whole way"), lambda m: Found(canon=m[1] or m[2]))
    sentence.rewrite(
        rule(rf"(?<!\^min ){noun} (?:that )?(?:goes |leads |runs |going |leading |of )?(@\S+)"),
        lambda m: Found(canon=m[1]),
    )
