"""Configs and JSON: exactly there and back, overrides, and refusals that name the key."""

import functools
import json
import math
import string
import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from limner import presets
from limner.core.config import Part, decode, encode, from_json, override, to_json
from limner.core.errors import ConfigError
from limner.core.schedules import SCHEDULES, Schedule
from limner.data.config import DataConfig
from limner.data.sources import SOURCES
from limner.data.sources.base import Source
from limner.engine import RunConfig, Update
from limner.engine.controllers import CONTROLLERS, Controller
from limner.models import ARCHITECTURES
from limner.objectives import DIRECTS, TERMS
from limner.objectives.base import Direct, Term

# A strategy that refuses a draw makes hypothesis think that somebody used `random` in it.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    derandomize=True,
)
TABLES: dict[type, list[type]] = {
    Term: list(TERMS.values()),
    Direct: list(DIRECTS.values()),
    Controller: list(CONTROLLERS.values()),
    Schedule: list(SCHEDULES.values()),
    Source: list(SOURCES.values()),
}
NUMBERS = st.one_of(
    st.floats(0.0, 0.99),
    st.floats(-1e3, 1e3),
    st.floats(allow_nan=False, allow_infinity=False),
)


def values_of(annotation: Any) -> st.SearchStrategy:
    """Any value that an annotation of a config field admits."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values_of, arguments))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    if origin is typing.Annotated:
        return values_of(arguments[0])
    if annotation in TABLES:
        return st.sampled_from(TABLES[annotation]).flatmap(configs_of)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return configs_of(annotation)
    simple = {
        bool: st.booleans(),
        int: st.one_of(st.integers(0, 64), st.integers(-(2**63), 2**63 - 1)),
        float: NUMBERS,
        str: st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        type(None): st.none(),
    }
    return simple[annotation]


def accepts(cls: type, values: dict[str, Any]) -> bool:
    try:
        cls(**values)
    except ConfigError:
        return False
    return True


def configs_of(cls: type) -> st.SearchStrategy:
    """Any instance of a config class that its own checks accept: an optional value that they refuse
    beside those drawn before is left out."""
    fields = sorted(msgspec.structs.fields(cls), key=lambda field: not field.required)
    num_required = sum(field.required for field in fields)

    @st.composite
    def build(draw) -> Any:
        kept: dict[str, Any] = {}
        for place, field in enumerate(fields, start=1):
            if not (field.required or draw(st.booleans())):
                continue
            tried = {**kept, field.name: draw(values_of(field.type))}
            if place < num_required or accepts(cls, tried):
                kept = tried
            else:
                assume(not field.required)
        assume(accepts(cls, kept))
        return cls(**kept)

    return build()


def classes() -> list[type]:
    found = [cls for table in TABLES.values() for cls in table]
    found += [cls for pair in ARCHITECTURES.values() for cls in pair]
    return list(dict.fromkeys(found))


@st.composite
def run_configs(draw) -> RunConfig:
    """Whole runs of any networks, updates, controllers and settings."""
    generator, discriminator = draw(st.sampled_from(list(ARCHITECTURES.values())))
    config = presets.get(draw(st.sampled_from(list(presets.PRESETS))))()
    length = draw(st.sampled_from([{"steps": 7, "kimg": None}, {"steps": None, "kimg": 0.1}]))
    updates = (*config.updates, *draw(st.lists(configs_of(Update), max_size=2)))
    changes = {
        "name": draw(values_of(str)),
        "generator": draw(configs_of(generator)),
        "discriminator": draw(configs_of(discriminator)),
        "data": draw(configs_of(DataConfig)),
        "updates": updates,
        "controllers": draw(values_of(tuple[Controller, ...])),
        "seed": draw(values_of(int)),
        "metrics": draw(values_of(tuple[str, ...])),
    }
    try:
        return config.replace(**changes, **length)
    except ConfigError:  # updates that do not go together
        assume(False)
        raise


# --- there and back ----------------------------------------------------------------------


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_every_part_comes_back_exactly(cls):
    @settings(QUICK, max_examples=10)
    @given(configs_of(cls))
    def check(config):
        plain = json.loads(json.dumps(encode(config), allow_nan=False))
        assert not issubclass(cls, Part) or plain["type"] == cls.__name__
        again = decode(cls, plain)
        assert again == config
        assert encode(again) == encode(config)

    check()


@settings(QUICK, max_examples=6)
@given(run_configs())
def test_any_run_comes_back_exactly(config):
    text = to_json(config)
    text.encode()
    again = from_json(RunConfig, text, "config.json")
    assert again == config
    assert to_json(again) == text


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_comes_back_exactly(name):
    config = presets.get(name)()
    text = to_json(config)
    assert from_json(RunConfig, text, name) == config
    assert to_json(from_json(RunConfig, text, name)) == text


# --- overrides ------------------------------------------------------------------------------


def dotted(plain: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every dotted key with its value; inner nodes too."""
    items = plain.items() if isinstance(plain, dict) else enumerate(plain)
    found = []
    for key, value in items:
        name = f"{path}.{key}" if path else str(key)
        found.append((name, value))
        if isinstance(value, (dict, list)):
            found += dotted(value, name)
    return found


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_key_of_a_preset_can_be_set_to_its_own_value(name):
    """Values all at once, each after every other in one of two orders; then what holds them."""
    config = presets.get(name)()
    values, nodes = [], []
    for key, value in dotted(encode(config)):
        found = nodes if isinstance(value, (dict, list)) else values
        found.append(f"{key}={json.dumps(value)}")
    for assignments in (values, values[::-1], nodes):
        assert override(config, assignments) == config


@functools.cache
def first_seen() -> dict[str, list[tuple[str, Any]]]:
    """The keys of every preset whose place, and the kinds of the parts around it, no preset before
    has."""
    seen, found = set(), {}
    for name in presets.PRESETS:
        plain, found[name] = encode(presets.get(name)()), []
        kinds = {key: value for key, value in dotted(plain) if key.endswith(".type")}
        for key, value in dotted(plain):
            around = frozenset(k for k in kinds.items() if key.startswith(k[0][: -len("type")]))
            if (key, around, type(value)) not in seen:
                seen.add((key, around, type(value)))
                found[name].append((key, value))
    return found


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_value_of_a_wrong_type_is_refused_with_its_key(name):
    config = presets.get(name)()
    for key, value in first_seen()[name]:
        wrong = {"x": 1} if not isinstance(value, dict) else [1]
        with pytest.raises(ConfigError) as caught:
            override(config, [f"{key}={json.dumps(wrong)}"])
        assert key in str(caught.value)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused_with_their_key(word):
    config = presets.get("digits")()
    for key, value in dotted(encode(config)):
        if isinstance(value, float):
            with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
                override(config, [f"{key}={word}"])
    with pytest.raises(ConfigError, match="keep"):
        to_json(config.replace(kimg=None, keep_best=math.inf))


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("precision", "float32, float64, bfloat16"),
        ("generator.norm", "batch, moments, cross_replica, instance, group, none"),
        ("updates.0.labels", "drawn, balanced, natural, real"),
    ],
)
def test_a_word_that_is_no_choice_names_the_choices(key, known):
    with pytest.raises(ConfigError) as caught:
        override(presets.get("biggan-cifar10")(), [f"{key}=foo"])
    assert str(caught.value) == f'{key}: "foo" is none of {known}'


def test_a_key_with_a_letter_missing_names_the_real_one():
    config = presets.get("digits")()
    tried = 0
    for key, _ in dotted(encode(config)):
        parent, _, last = key.rpartition(".")
        siblings = [k.rpartition(".")[2] for k, _ in dotted(encode(config)) if k.startswith(parent)]
        for place in range(len(last)):
            typo = last[:place] + last[place + 1 :]
            if len(last) < 4 or typo in siblings:
                continue
            tried += 1
            with pytest.raises(ConfigError) as caught:
                override(config, [f"{parent}.{typo}=1" if parent else f"{typo}=1"])
            assert f"nearest is '{last}'" in str(caught.value), typo
    assert tried > 300


def test_keys_that_belong_together_change_in_any_order():
    config = presets.get("digits")()
    for assignments in (["steps=null", "kimg=10"], ["kimg=10", "steps=null"]):
        changed = override(config, assignments)
        assert (changed.steps, changed.kimg) == (None, 10.0)
    schedule = ["until_nimg=5", "from_nimg=20", "until_nimg=30"]
    line = {"type": "Linear", "start": 1, "end": 0, "until_nimg": 9}
    rate = [f'controllers.+={{"type": "LearningRate", "factor": {json.dumps(line)}}}']
    changed = override(config, rate + [f"controllers.2.factor.{each}" for each in schedule])
    factor = encode(changed)["controllers"][2]["factor"]
    assert factor == {"type": "Linear", "start": 1.0, "end": 0.0, "until_nimg": 30, "from_nimg": 20}


def test_lists_are_appended_to():
    config = presets.get("digits")()
    penalty = '{"type": "R1", "gamma": 2}'
    for place in ("+", "1"):
        terms = override(config, [f"updates.0.terms.{place}={penalty}"]).updates[0].terms
        assert [type(term).__name__ for term in terms] == ["RelativisticD", "R1"]
    assert override(config, ["frozen.+=generator.a", "frozen.+=7"]).frozen == ("generator.a", "7")
    for key in ("controllers.3", "controllers.-1", "controllers.3.decay", "controllers.+.decay"):
        place = "controllers." + key.split(".")[1]
        with pytest.raises(ConfigError) as caught:
            override(config, [f"{key}=0.5"])
        words = "unknown key; the list's places are 0 to 1; controllers.+=VALUE appends to it"
        assert str(caught.value) == f"{place}: {words}"
    with pytest.raises(ConfigError, match=r"frozen.0: unknown key; the list's places are none"):
        override(config, ["frozen.0.x=1"])


def test_what_looks_like_a_number_is_a_word_where_a_word_stands():
    changes = ["name=12", "features=1e3", "metrics.+=5", "seed=3", "sheet.grid=null", "kimg=null"]
    changed = override(presets.get("digits")(), changes)
    assert (changed.name, changed.features, changed.seed) == ("12", "1e3", 3)
    assert (changed.metrics[-1], changed.sheet.grid) == ("5", None)
    with pytest.raises(ConfigError, match=r"seed: give a whole number, not 1\.5"):
        override(presets.get("digits")(), ["name=12", "seed=1.5"])


def test_an_unknown_key_beside_good_ones_names_the_nearest():
    with pytest.raises(ConfigError, match=r"optim.g.lrr: unknown key; nearest is 'lr'"):
        override(presets.get("digits")(), ["steps=3", "optim.g.lrr=1", "seed=4"])
    with pytest.raises(ConfigError, match=r"optm: unknown key; nearest is 'optim'"):
        override(presets.get("digits")(), ["steps=3", "optm.g.lr=1"])


# --- anything else ----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


def outcome(work) -> None:
    """Either it works, or it is a ConfigError of one line."""
    try:
        config = work()
    except ConfigError:
        return
    to_json(config).encode()


@settings(QUICK, max_examples=150)
@given(st.binary(max_size=60) | st.text(string.printable, max_size=60).map(str.encode))
@example(b"[" * 100_000)
@example(b'{"a":' * 990)
@example(b"1" * 5000)
@example(b'{"steps": ' + b"9" * 5000 + b"}")
@example(b"\xff\xfe{}")
@example(b"NaN")
def test_any_bytes_are_read_or_refused(content):
    outcome(lambda: from_json(RunConfig, content, "config.json"))


@settings(QUICK, max_examples=150)
@given(st.data())
def test_any_change_of_a_config_is_read_or_refused(data):
    plain = encode(presets.get(data.draw(st.sampled_from(["digits", "dcgan-mnist"])))())
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from([key for key, _ in dotted(plain)]))
        node, names = plain, key.split(".")
        for name in names[:-1]:
            node = node[int(name) if isinstance(node, list) else name]
        place = int(names[-1]) if isinstance(node, list) else names[-1]
        node[place] = data.draw(JSON)
    outcome(lambda: decode(RunConfig, plain))


TAGS = [":", ":X", "..a:b", ".:b", "os:system", "os:", "os.path:join", "nothing:X", "builtins:int"]
TAGS += ["limner.core.config:Config", "a b:c", "\0:x", "json:JSONDecoder", "\ud800:x", "HingeD.x"]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("import_modules", [False, True])
def test_any_type_is_found_or_refused(tag, import_modules):
    plain = encode(presets.get("digits")())
    plain["updates"][0]["terms"][0] = {"type": tag}
    with pytest.raises(ConfigError, match=r"updates\.0\.terms\.0"):
        decode(RunConfig, plain, import_modules)


@pytest.mark.parametrize(
    "assignment",
    [
        *("steps", "=", "=1", "steps=", ".=1", "..=", "seed=true", "seed=1.5", "seed=1e400"),
        *(
            "updates.-1.every=1",
            "updates.9.every=1",
            "updates.x=1",
            "optim..lr=1",
            "updates.0.terms.0.type=5",
            "+=1",
            "data.flip=1",
        ),
        *("optim.g.lr=true", "optim.g.lr=" + "9" * 400, "name=\ud800"),
        *("steps=" + "9" * 5000, "seed=" + "[" * 100_000),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_senseless_overrides_are_refused(assignment):
    with pytest.raises(ConfigError):
        override(presets.get("digits")(), [assignment])
