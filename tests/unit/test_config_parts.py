"""Names of parts in JSON: a class is saved under a name that finds it again, or refused."""

import sys
import types
from pathlib import Path

import pytest

from limner import presets
from limner.core.config import Config, decode, encode
from limner.core.errors import ConfigError
from limner.core.parts import tag_of
from limner.core.schedules import Schedule
from limner.engine import RunConfig
from limner.engine.controllers import LearningRate


class Outside(Config, Schedule, frozen=True):
    def __call__(self, nimg: int) -> float:
        return 1.0


class Holder:
    class Inside(Config, Schedule, frozen=True):
        def __call__(self, nimg: int) -> float:
            return 1.0


def with_factor(factor: Schedule) -> RunConfig:
    return presets.get("digits")().replace(controllers=(LearningRate(factor=factor),))


def test_a_nested_class_is_refused_where_it_would_be_saved():
    class Local(Config, Schedule, frozen=True):
        pass

    for cls, place in ((Holder.Inside, "Holder"), (Local, r"test_a_nested_class.*<locals>")):
        message = f"^controllers.0.factor: class {cls.__name__} stands inside {place}, .* top of"
        with pytest.raises(ConfigError, match=message):
            encode(with_factor(cls()))


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A `__main__` of one's own, with the class `Mine`, as in a notebook."""
    main = types.ModuleType("__main__")
    source = "class Mine(Config, Schedule, frozen=True):\n    value: float = 1.0\n"
    exec(source, vars(main) | {}, space := vars(main) | {"Config": Config, "Schedule": Schedule})
    vars(main).update(space)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def test_a_class_of_a_notebook_is_refused_with_the_remedy(main):
    with pytest.raises(
        ConfigError, match=r"^controllers.0.factor: class Mine stands in a notebook"
    ):
        encode(with_factor(main.Mine()))
    main.__file__ = "/somewhere/two words.py"
    with pytest.raises(ConfigError, match=r"put it into a FILE.py and import it"):
        tag_of(main.Mine)


def test_a_class_of_a_script_is_named_by_its_file_and_found_again(main, tmp_path: Path):
    main.__file__ = str(tmp_path / "my_script_of_schedules.py")
    config = with_factor(main.Mine(value=2.0))
    plain = encode(config)
    assert plain["controllers"][0]["factor"]["type"] == "my_script_of_schedules:Mine"
    assert decode(RunConfig, plain) == config  # nothing is imported, so nothing runs twice


def test_a_module_that_is_run_is_named_as_it_is_imported(main):
    main.__spec__ = types.SimpleNamespace(name="package.module")
    assert tag_of(main.Mine) == "package.module:Mine"
    main.__spec__.name = "__main__"  # python FOLDER
    with pytest.raises(ConfigError, match=r"put it into a FILE.py"):
        tag_of(main.Mine)


def test_a_class_of_a_module_is_named_by_it():
    config = with_factor(Outside())
    assert encode(config)["controllers"][0]["factor"] == {"type": f"{__name__}:Outside"}
    assert decode(RunConfig, encode(config)) == config
