"""Shipped scenarios with mistakes in them, each a function of a seed and a number: it can be made again."""

from __future__ import annotations

import copy
import datetime
import json
import random
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fedsim.scenario.files import dump, load_variants


class Raw(str):
    """A piece of TOML as it stands in a file."""


class Case(NamedTuple):
    """A scenario file with mistakes, and overrides with more of them."""

    number: int
    origin: str
    """The shipped file, relative to the folder of all scenarios."""
    content: bytes
    overrides: tuple[str, ...]


Place = tuple[str | int, ...]
"""Where a value stands: keys and places in lists."""

LONG = "x" * 3000
# Sizes are either small or absurd: what lies between is possible, and takes gigabytes or hours.
NASTY: tuple[Any, ...] = (
    *map(Raw, ("nan", "-nan", "inf", "-inf", "1e308", "-1e308", "1e309", "1e-308", "5e-324", "-0.0", "1e15")),
    *(
        0,
        1,
        2,
        3,
        7,
        -1,
        0.0,
        0.1,
        0.5,
        1.0,
        1.5,
        2.0,
        -0.5,
        2**31,
        2**53 + 1,
        2**63 - 1,
        2**63,
        2**64,
        10**30,
    ),
    *(
        Raw("9" * 4300),
        Raw("9" * 5000),
        Raw("-" + "9" * 5000),
        Raw("0x" + "f" * 4000),
        Raw("1_000"),
        Raw("1e5000"),
    ),
    *(
        True,
        False,
        "",
        " ",
        "a",
        "3",
        "nan",
        "true",
        "-1",
        "sdbt",
        "constant",
        "none",
        "None",
        "l1",
        LONG,
        "x" * 300,
    ),
    *(
        "é",
        "日本語",
        "\U0001f600",
        "a\u0301",
        "\u202egnp",
        "\ufeff",
        "\u2028",
        "a\nb",
        "a\tb",
        "\x00",
        "\x1b[31mred\x1b[0m",
    ),
    *(
        "[red]x[/red]",
        "[/x]",
        "[INST] {{ text }} [/INST]",
        "{x}",
        "{{ x }}",
        "{% x",
        "%s%n",
        "$HOME",
        "~",
        "a b",
        "a/b",
    ),
    *(
        ".",
        "..",
        "/",
        "/dev/null",
        "a/../b",
        "x.partial",
        "timing-only",
        "-",
        "--",
        "CON",
        "os:system",
        "math:pi",
        ":",
    ),
    *(
        "a:b:c",
        "builtins:int",
        "json:",
        "fedsim.catalog:Part",
        "fedsim.timing.delays.constant:Constant",
        "08:30",
        "25:99",
    ),
    *(
        [],
        {},
        [[]],
        [{}],
        [1, "a"],
        [True],
        [0.5] * 40,
        ["a", "a"],
        [-1],
        [Raw("nan")],
        [{"count": 1}],
        {"a": 1},
    ),
    *(
        {"kind": "x"},
        {"kind": 3},
        {"kind": []},
        {"kind": "constant"},
        {"kind": "constant", "value_s": 1.0},
        {"file": "no.csv"},
    ),
    *(
        {"kind": "constant", "value_s": Raw("1e308")},
        {"kind": "exponential", "mean_s": Raw("1e308")},
        {"": 1},
        {"a.b": 2},
    ),
    *(
        {"kind": "constant", "value_s": 0.0},
        {"kind": "pareto", "minimum_s": 1.0, "alpha": Raw("1e-300")},
        {"kind": ""},
    ),
    *(
        datetime.date(2020, 2, 29),
        datetime.time(7, 32),
        datetime.datetime(1979, 5, 27, 7, 32, tzinfo=datetime.UTC),
    ),
    *(Raw("[" * depth + "]" * depth) for depth in (60, 400)),
    *(Raw("{a=" * depth + "1" + "}" * depth) for depth in (60, 400)),
    Raw("{" + ".".join(["a"] * 900) + " = 1}"),
)
LINES = (
    "[" * 5000 + "]" * 5000,
    "a = " + "[" * 5000 + "]" * 5000,
    ".".join(["a"] * 900) + " = 1",
    "[" + ".".join(["a"] * 900) + "]",
    "seed = " + "9" * 5000,
    "seed = 3",
    "name = 'other'",
    "description = " + json.dumps("long " * 20_000),
    "description = '''\nseveral\nlines'''",
    "extends = 'no.toml'",
    "extends = ''",
    "extends = '.'",
    "extends = '" + "x" * 300 + "'",
    "extends = ['a', 'b']",
    "unset = ['workers', 'llm']",
    "unset = 'budget'",
    "unset = [3]",
    "[variants]",
    "[variants.'']",
    "[variants.'a b/c']",
    "[variants.x.budget]",
    "variants = []",
    "[sweep.grid]",
    "[sweep]",
    "sweep = { grid = { seed = [] } }",
    "[[workers]]",
    "[workers]",
    "[[attacks]]",
    "\x00",
    "\x1b[2J",
    "= 3",
    "]]",
    '"',
    "'''",
)
STRANGE_OVERRIDES = (
    *(
        "",
        "=",
        "a",
        "a=",
        "=1",
        "a..b=1",
        ".=1",
        "a.=1",
        ".a=1",
        "seed = 3 = 4",
        "seed=",
        "seed='",
        "seed=1\nname='x'",
    ),
    *(
        "unset=['llm']",
        "workers.0=3",
        "workers.-1.count=1",
        "workers.99999999999999999999.count=1",
        "workers.\u0661.count=1",
    ),
    *(
        "variant=1",
        "variant='x'",
        "extends='x'",
        "sweep.grid.seed=[1]",
        "variants.x.seed=1",
        "name='a/b'",
        "name=''",
    ),
    *(
        ".".join(["a"] * 900) + "=1",
        "seed=" + "9" * 5000,
        "description=" + "[" * 5000,
        "seed=\udcff",
        "\udcff=1",
        "seed=1_0",
    ),
    *(
        "\ufeffseed=1",
        "seed=\x00",
        "'seed'=1",
        '"se.ed"=1',
        "problem={}",
        "algorithm={}",
        "llm={}",
        "budget={}",
        "workers=[{}]",
    ),
)


def scenario_files(root: Path) -> list[Path]:
    """Return all scenario files at or below a folder, in order; without those that take minutes to run."""
    return sorted(file for file in root.rglob("*.toml") if file.parent.name != "scale")


def make_case(seed: int, number: int, root: Path) -> Case:
    """Return a case; the same one for the same seed, number and scenarios."""
    chance = random.Random(f"{seed}/{number}")
    files = scenario_files(root)
    file = chance.choice(files)
    other = tomllib.loads(chance.choice(files).read_text(encoding="utf-8"))
    overrides: list[str] = []
    if chance.random() < 0.15:
        content = _spoiled_text(file.read_text(encoding="utf-8"), chance)
        table: dict[str, Any] = {}
    else:
        table = _base(file, chance)
        mutations = GENTLE if chance.random() < 0.6 else MUTATIONS
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            chance.choice(mutations)(table, other, chance)
        content = toml(table).encode("utf-8", "surrogatepass")
    if chance.random() < 0.15:
        if chance.random() < 0.4 or not table:
            overrides.append(chance.choice(STRANGE_OVERRIDES))
        else:
            place = chance.choice(list(places(table)))
            overrides.append(f"{'.'.join(map(str, place))}={_value(chance.choice(NASTY))}")
    return Case(number, str(file.relative_to(root)), content, tuple(overrides))


def _base(file: Path, chance: random.Random) -> dict[str, Any]:
    """Return a file's own table or, with every setting in it, that of one of its variants."""
    if chance.random() < 0.5:
        try:
            return tomllib.loads(dump(chance.choice(load_variants(file))))
        except Exception:
            pass  # a base of others is no scenario by itself
    return tomllib.loads(file.read_text(encoding="utf-8"))


def places(table: dict[str, Any]) -> Iterator[Place]:
    """Yield where all values stand, tables and lists among them."""

    def below(value: Any, place: Place) -> Iterator[Place]:
        parts = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, part in list(parts)[:30]:
            yield (*place, key)
            yield from below(part, (*place, key))

    return below(table, ())


def _holder(table: Any, place: Place) -> Any:
    for key in place[:-1]:
        table = table[key]
    return table


def _set(table: Any, other: Any, chance: random.Random) -> None:
    if found := list(places(table)):
        place = chance.choice(found)
        _holder(table, place)[place[-1]] = copy.deepcopy(chance.choice(NASTY))


def _take_away(table: Any, other: Any, chance: random.Random) -> None:
    if found := list(places(table)):
        place = chance.choice(found)
        del _holder(table, place)[place[-1]]


def _swap(table: Any, other: Any, chance: random.Random) -> None:
    if found := list(places(table)):
        one, two = chance.choice(found), chance.choice(found)
        if one[: len(two)] != two and two[: len(one)] != one:
            first, second = _holder(table, one), _holder(table, two)
            first[one[-1]], second[two[-1]] = second[two[-1]], first[one[-1]]


def _wrap(table: Any, other: Any, chance: random.Random) -> None:
    if found := list(places(table)):
        place = chance.choice(found)
        holder = _holder(table, place)
        value = holder[place[-1]]
        ways: list[Any] = [[value], [value, value], {"kind": value}, {"value": value}, str(value)]
        if isinstance(value, list) and value:
            ways += [value[0], value * 3]
        if isinstance(value, int | float) and not isinstance(value, bool):
            ways += [-value, value * 1e15, value + 0.5, float(value), bool(value)]
        holder[place[-1]] = copy.deepcopy(chance.choice(ways))


def _rename(table: Any, other: Any, chance: random.Random) -> None:
    if found := [place for place in places(table) if isinstance(place[-1], str)]:
        place = chance.choice(found)
        holder, key = _holder(table, place), str(place[-1])
        new = chance.choice(
            [key[:-1], key + "s", key.upper(), key * 2, f" {key}", f"{key}.{key}", "", "é", LONG, "kind"]
        )
        holder[new] = holder.pop(key)


def _transplant(table: Any, other: Any, chance: random.Random) -> None:
    """Put something from another scenario in, at the same place or anywhere."""
    source, found = list(places(other)), list(places(table))
    if not (source and found):
        return
    place = chance.choice(source)
    value = copy.deepcopy(_holder(other, place)[place[-1]])
    if chance.random() < 0.5 and isinstance(place[0], str):
        table[place[0]] = copy.deepcopy(other[place[0]])
    else:
        target = chance.choice(found)
        holder = _holder(table, target)
        key = place[-1] if isinstance(holder, dict) and isinstance(place[-1], str) else target[-1]
        holder[key] = value


def _number(table: Any, other: Any, chance: random.Random) -> None:
    """Put another number, or another switch, in the place of one."""
    found = [place for place in places(table) if isinstance(_holder(table, place)[place[-1]], int | float)]
    if not found:
        return
    place = chance.choice(found)
    holder = _holder(table, place)
    value = holder[place[-1]]
    if isinstance(value, bool):
        holder[place[-1]] = not value
    elif isinstance(value, int):
        holder[place[-1]] = chance.choice((0, 1, 2, 3, 4, 5, 7, 12, 10**12, 2**53 + 1, 2**63, 10**30))
    else:
        tiny, huge = (Raw("5e-324"), Raw("1e-300"), 1e-12, 1e-6), (1e6, 1e12, Raw("1e300"), Raw("1.7e308"))
        holder[place[-1]] = chance.choice((0.0, *tiny, 0.1, 0.5, 0.9999999999999999, 1.0, 1.5, 3.0, *huge))


def _section(table: Any, other: Any, chance: random.Random) -> None:
    """Put a section of another scenario in the place of one's own, or beside it."""
    key = chance.choice([key for key in other if key not in ("extends", "variants", "sweep")] or ["name"])
    if key in other:
        table[key] = copy.deepcopy(other[key])


GENTLE: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    *(_number,) * 6,
    _section,
    _section,
    _take_away,
)
"""What many scenarios survive, so that they run."""
MUTATIONS: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    *(_set, _set, _set, _set),
    *(_take_away, _swap, _wrap, _rename, _transplant, _transplant),
)


def _spoiled_text(text: str, chance: random.Random) -> bytes:
    lines = text.split("\n")
    where = chance.randrange(len(lines))
    how = chance.randrange(9)
    if how <= 2:
        lines.insert(where, chance.choice(LINES))
    elif how == 3:
        lines.insert(where, chance.choice(lines))
    elif how == 4:
        del lines[where]
    elif how == 5:
        other = chance.randrange(len(lines))
        lines[where], lines[other] = lines[other], lines[where]
    content = "\n".join(lines).encode()
    place = chance.randrange(len(content) + 1)
    if how == 6:
        content = content[:place]
    elif how == 7:
        junk = chance.choice(
            [
                b"\xff",
                b"\xe9",
                b"\x00",
                b"\xef\xbb\xbf",
                b"\r",
                b"\x1b",
                b"[[",
                b'"',
                b"'''",
                b"\\",
                b"\xed\xa0\x80",
            ]
        )
        content = content[:place] + junk + content[place:]
    elif how == 8:
        text = content.decode()
        content = chance.choice(
            [text.encode("utf-16"), text.encode("utf-32"), b"\xef\xbb\xbf" + content, content * 2, b""]
        )
    return content


def toml(table: dict[str, Any]) -> str:
    """Return a table as TOML, one line for each key."""
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items())


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)} = {_value(part)}' for key, part in value.items())}}}"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return repr(value)
