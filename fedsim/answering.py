"""What parts of somebody else's return, checked where it enters, and what they are given, as copies.

A base class marks a method with ``@answers(check)``; whoever defines it outside of fedsim has its answers
checked by that one check, which names the part. Ours are not checked again and again: tests do that once.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator, Mapping
from functools import wraps
from typing import Any, NoReturn, TypeVar, cast

OURS = ("fedsim", "fedsim_analysis")

Check = Callable[[Any, str, list[Any], Any], Any]
"""Takes the part, its method's name, the arguments and the answer; returns the answer, perhaps guarded."""
M = TypeVar("M", bound=Callable[..., Any])


class AnswerError(Exception):
    """A part has returned something that it must not."""


def refuse(name: str, answer: object, expected: str) -> NoReturn:
    """Say what a method has returned, and what was expected."""
    raise AnswerError(f"returned {_shown(answer)} from {name}, expected {expected}")


def answers(check: Check, copies: bool = True) -> Callable[[M], M]:
    """Mark a method of a base class whose answers are checked.

    Args:
        check: what is expected.
        copies: whether it gets copies of arrays and tensors; otherwise it may change them.
    """

    def mark(method: M) -> M:
        method.__answers__ = (check, copies)  # type: ignore[attr-defined]
        return method

    return mark


def guard(part: type) -> None:
    """Let the marked methods that a stranger's class defines be checked."""
    if part.__module__.partition(".")[0] in OURS:
        return
    for name, member in list(vars(part).items()):
        method = member.fget if isinstance(member, property) else member
        inherited = (vars(base).get(name) for base in part.__mro__[1:])
        marks = (getattr(getattr(base, "fget", base), "__answers__", None) for base in inherited)
        mark = next((mark for mark in marks if mark), None)
        if mark and inspect.isfunction(method) and not getattr(method, "__isabstractmethod__", False):
            guarded = _guarded(method, name, *mark)
            setattr(part, name, property(guarded) if isinstance(member, property) else guarded)


def _guarded(method: Callable[..., Any], name: str, check: Check, copies: bool) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @wraps(method)
    def asked(self: Any, *arguments: Any, **named: Any) -> Any:
        given = copied((arguments, named)) if copies else (arguments, named)
        answer = method(self, *given[0], **given[1])
        return check(
            self, name, list(signature.bind(self, *arguments, **named).arguments.values())[1:], answer
        )

    return asked


class Opened:
    """What a part has opened for a run, with the answers of its methods checked.

    Args:
        part: whose it is.
        opened: what it has returned.
        checks: by name of the method.
        copies: whether its methods get copies of arrays and tensors.
    """

    def __init__(self, part: Any, opened: Any, checks: Mapping[str, Check], copies: bool = True) -> None:
        self.__dict__.update(_part=part, _opened=opened, _checks=checks, _copies=copies)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._opened, name)
        check = self._checks.get(name)
        if check is None or not callable(value):
            return value
        part, copies = self._part, self._copies

        def asked(*arguments: Any, **named: Any) -> Any:
            return _asked(part, name, value, check, copies, arguments, named)

        return asked

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._opened, name, value)


def _asked(
    part: Any,
    name: str,
    method: Callable[..., Any],
    check: Check,
    copies: bool,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
) -> Any:
    """Ask what a part has opened; the first argument tells `fedsim.faults` whose it is."""
    given = copied((arguments, named)) if copies else (arguments, named)
    answer = method(*given[0], **given[1])
    return check(part, name, [*arguments, *named.values()], answer)


def opens(checks: Mapping[str, Check], copies: bool = True, or_none: bool = False) -> Check:
    """Return the check of a method that opens something for a run.

    Args:
        checks: of its methods, by name: it must have all of them.
        copies: whether they get copies of arrays and tensors.
        or_none: whether nothing may be opened.
    """

    def check(part: Any, name: str, given: list[Any], answer: Any) -> Any:
        if answer is None and or_none:
            return None
        missing = [method for method in checks if not callable(getattr(answer, method, None))]
        if missing:
            refuse(name, answer, f"something with the method {missing[0]!r}")
        return Opened(part, answer, checks, copies)

    return check


def copied(value: Any) -> Any:
    """Return the same with arrays and tensors, at any depth of tuples, lists and tables, as copies."""
    kind = type(value)
    if kind.__module__ == "torch" and hasattr(value, "clone"):
        return value.clone()
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        return value.copy()
    if isinstance(value, tuple):
        parts = [copied(part) for part in value]
        return kind(*parts) if hasattr(kind, "_fields") else tuple(parts)
    if kind is list:
        return [copied(part) for part in value]
    if kind is dict:
        return {key: copied(part) for key, part in value.items()}
    return value


def processes(part: Any, name: str, given: list[Any], answer: Any) -> Any:
    """Check a process of SimPy."""
    if not isinstance(answer, Generator):
        refuse(name, answer, "a process: a generator of events")
    return _process(part, name, answer)


def _process(part: Any, name: str, process: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Go through a process and look at each event that it waits for."""
    import simpy

    resume, value = process.send, None
    while True:
        try:
            event = resume(value)
        except StopIteration as end:
            return end.value
        if not isinstance(event, simpy.Event):
            refuse(name, event, "events only")
        if isinstance(event, simpy.Timeout) and math.isnan(event._delay):
            refuse(name, event._delay, "a number of seconds")
        try:
            value = yield event
            resume = process.send
        except GeneratorExit:
            process.close()
            raise
        except BaseException as error:
            resume, value = process.throw, error


def number(
    least: float = -math.inf, most: float = math.inf, infinite: bool = False, or_none: bool = False
) -> Check:
    """Return the check of a number."""
    bounds = f" from {least:g}" if least > -math.inf else ""
    bounds += f" to {most:g}" if most < math.inf else ""

    def check(part: Any, name: str, given: list[Any], answer: Any) -> float | None:
        if answer is None and or_none:
            return None
        if not is_number(answer) or not least <= answer <= most or not (infinite or math.isfinite(answer)):
            refuse(name, answer, f"a number{bounds}")
        return float(answer)

    return check


def count(least: int = 0, or_none: bool = False) -> Check:
    """Return the check of a whole number."""

    def check(part: Any, name: str, given: list[Any], answer: Any) -> int | None:
        if answer is None and or_none:
            return None
        if isinstance(answer, bool) or not hasattr(answer, "__index__") or answer < least:
            refuse(name, answer, f"a whole number from {least}")
        return int(answer)

    return check


def of_type(kind: type, check: Callable[[Any], str] | None = None) -> Check:
    """Return the check of a value of one class, about which a function says what is wrong, if anything."""

    def checked(part: Any, name: str, given: list[Any], answer: Any) -> Any:
        if not isinstance(answer, kind):
            refuse(name, answer, f"a {kind.__name__}")
        if check is not None and (wrong := check(answer)):
            raise AnswerError(f"returned a {kind.__name__} from {name} in which {wrong}")
        return answer

    return checked


def is_number(value: Any) -> bool:
    """Whether a value is one real number, of Python or NumPy, and not NaN."""
    import numpy as np

    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and not math.isnan(value)


def array(name: str, answer: Any, shape: tuple[int, ...], least: float = -math.inf) -> Any:
    """Check an array of finite numbers, and return it as float64."""
    import numpy as np

    sized = f"an array of shape {shape}"
    if not isinstance(answer, np.ndarray) or answer.dtype.kind not in "fiu" or answer.shape != shape:
        refuse(name, answer, f"{sized} with real numbers")
    wrong = ~np.isfinite(answer) | (answer < least)
    if wrong.any():
        bounds = f" from {least:g}" if least > -math.inf else ""
        refuse(name, answer[wrong].flat[0].item(), f"finite numbers{bounds}")
    return answer.astype(np.float64, copy=False)


def tensor(name: str, answer: Any, shape: tuple[int | None, ...], finite: bool = True) -> Any:
    """Check a tensor of real numbers; of a size that is none, any will do."""
    import torch

    told = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
    expected = f"a tensor of real numbers of shape {told}"
    if not isinstance(answer, torch.Tensor) or answer.is_complex() or answer.dim() != len(shape):
        refuse(name, answer, expected)
    if any(size is not None and size != found for size, found in zip(shape, answer.shape, strict=True)):
        refuse(name, answer, expected)
    if finite and not bool(answer.isfinite().all()):
        refuse(name, answer[~answer.isfinite()][0].item(), "finite numbers")
    return answer


def measured(part: Any, name: str, given: list[Any], answer: Any) -> dict[str, float]:
    """Check measurements: numbers by name, the loss among them."""
    if not isinstance(answer, dict) or "loss" not in answer:
        refuse(name, answer, "a dict of measurements with 'loss'")
    for key, value in answer.items():
        numeric = isinstance(value, float) or is_number(value)  # NaN: it has no meaning here
        if not isinstance(key, str) or not numeric:
            refuse(name, value, f"a number for {key!r}")
    return {key: float(value) for key, value in answer.items()}


def _shown(value: object) -> str:
    """Return a value in a few words."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and shape and dtype is not None:
        return f"{type(value).__name__} of {dtype} of shape {tuple(shape)}"
    try:
        text = repr(value)
    except Exception:  # a stranger's
        text = f"a {type(value).__name__}"
    text = text.partition("\n")[0]
    return text if len(text) <= 60 else text[:57] + "..."


def is_finite(*values: Any) -> bool:
    """Whether all of these tensors are finite."""
    return all(bool(cast("Any", value).isfinite().all()) for value in values)
