"""Hostile input for readers: damaged bytes, and cases judged in a child that may not hang or grow.

A case is a number: its content follows from (reader, seed, number) alone, so that a report names
what repeats it.
"""

import json
import mmap
import os
import random
import resource
import signal
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from limner.core.errors import LimnerError

CASE_SECONDS = 1.0  # of the processor; waiting counts ten times less
CASE_BYTES = 500 * 2**20
NUMBERS = (0, 1, -1, 2, 3, 127, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
JSON_TOKENS = (
    b"null", b"true", b"-1", b"1e999", b"NaN", b"-Infinity", b"9" * 5000, b"1" + b"0" * 400, b"[]",
    b"{}", b'""', b"[" * 200, b'"\\ud800"', b'"\\u0000"', b'{"a":' * 100, b"0.5", b"18446744073709551616",
)  # fmt: skip


class CaseTimeoutError(BaseException):
    """A case took too long. No Exception: nothing that reads files may swallow it."""


def damaged(rng: random.Random, content: bytes, tokens: tuple[bytes, ...] = ()) -> bytes:
    """The content after one to four accidents: flips, cuts, repeats, numbers, foreign tokens."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 64)))
        match rng.randrange(8):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                data[at:end] = rng.randbytes(end - at)
            case 2:
                del data[at:]
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = data[at:end] * rng.choice((1, 2, 50))
            case 5:
                code = rng.choice("bhiq")
                number = rng.choice(NUMBERS) % 2 ** (8 * struct.calcsize(f"<{code}"))
                packed = number.to_bytes(struct.calcsize(f"<{code}"), rng.choice(("little", "big")))
                data[at : at + len(packed)] = packed
            case 6 if tokens:
                data[at : at + rng.choice((0, 1, 4))] = rng.choice(tokens)
            case _:
                other = rng.randrange(len(data) + 1)
                data[at:end] = data[other : other + end - at]
    return bytes(data)


def changed_value(rng: random.Random, tree: Any, values: Callable[[], Any]) -> Any:
    """A copy of plain JSON values with one place replaced, dropped, added or exchanged."""
    tree = json.loads(json.dumps(tree))
    places = list(_places(tree))
    if not places:
        return values()
    holder, key = rng.choice(places)
    match rng.randrange(6):
        case 0 if isinstance(holder, dict):
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        case 2:
            other, name = rng.choice(places)
            holder[key] = json.loads(json.dumps(other.get(name) if isinstance(other, dict) else 0))
        case _:
            holder[key] = values()
    return tree


WRONG_VALUES = (
    None, True, -1, 0, 1.5, float("nan"), 1e308, 10**30, 2**63, [], {}, "", "x", "\ud800", "\0", [[1]],
    {"a": 1}, "os:system", ":", ".x:Y", "a" * 300, -0.5, [1, 2, 3],
)  # fmt: skip


def mutated(files: dict[str, bytes], key: str) -> tuple[str, bytes]:
    """One of the files after accidents; which and how follows from the key alone. JSON is half the
    time changed as what it means, half as bytes."""
    rng = random.Random(key)
    name = rng.choice(sorted(files))
    content = files[name]
    if rng.random() >= 0.5 or not name.endswith((".json", ".jsonl")):
        return name, damaged(rng, content, JSON_TOKENS)
    lines = content.splitlines() if name.endswith("l") else [content]
    at = rng.randrange(len(lines))
    tree = json.loads(lines[at])
    for _ in range(rng.choice((1, 1, 2))):
        tree = changed_value(rng, tree, lambda: rng.choice(WRONG_VALUES))
    lines[at] = json.dumps(tree).encode()
    return name, b"\n".join(lines) + b"\n"


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


# --- judging in a child -------------------------------------------------------


def _alarm(_: int, frame: FrameType | None) -> None:
    place = "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    raise CaseTimeoutError(place)


def verdict(read: Callable[[], object], wall_seconds: float = 10 * CASE_SECONDS) -> str:
    """ "" for a case that was read or refused as it should be, else what went wrong."""
    begin = time.process_time()
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGPROF, _alarm)
    signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, wall_seconds)
    try:
        read()
    except LimnerError as error:
        problem = "" if 0 < len(str(error)) < 20_000 else f"its message: {str(error)!r:.300}"
    except CaseTimeoutError as error:
        problem = f"more than a second at {error}"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "limner" in f.filename] or frames
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
        problem = f"{type(error).__name__} at {place}: {str(error)[:120]}"
    else:
        problem = ""
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.process_time() - begin
    if not problem and seconds > CASE_SECONDS:
        problem = f"took {seconds:.1f} s"
    return problem


class Progress:
    """Counters in memory shared with a child, readable after it was killed."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 16)

    def set(self, done: int) -> None:
        self._map[:8] = done.to_bytes(8, "little")

    def get(self) -> int:
        return int.from_bytes(self._map[:8], "little")


def in_child(work: Callable[[Progress], Any], seconds: float, num_bytes: int) -> dict[str, Any]:
    """Run work in a forked child with a limit of memory above what it has, and of time.

    Returns:
        "result" (what it returned, through JSON) or "died" (how), "progress" (its last number) and
        "rise" (growth of its resident memory in bytes).
    """
    progress = Progress()
    inlet, outlet = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(inlet)
        code = 1
        try:
            before = _peak()
            _limit_memory(num_bytes)
            result = work(progress)
            answer = {"result": result, "rise": _peak() - before}
            with os.fdopen(outlet, "wb") as file:
                file.write(json.dumps(answer).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(outlet)
    content = _drained(inlet, child, time.monotonic() + seconds)
    _, status = os.waitpid(child, 0)
    if status or not content:
        return {"died": _how(status), "progress": progress.get(), "rise": 0}
    return {**json.loads(content), "progress": progress.get()}


def _drained(inlet: int, child: int, deadline: float) -> bytes:
    content = b""
    os.set_blocking(inlet, False)
    with os.fdopen(inlet, "rb", buffering=0) as file:
        while True:
            part = file.read(65536)
            if part:
                content += part
            elif part == b"":
                return content
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                return content
            else:
                time.sleep(0.005)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _limit_memory(num_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + num_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
