"""Reads Stripe's form encoding and holds every parameter against the types that the stripe library itself was generated with.
It must never name a parameter: what the pinned library does not know is refused, so that an upgrade which drops one turns red."""

import functools
import importlib
import re
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Union
from urllib.parse import parse_qsl

import stripe
import typing_extensions
from stripe import RequestOptions
from stripe._stripe_object import UntypedStripeObject

from tests.doubles.stripe_errors import Refused, bad_parameter

OPTIONS = frozenset(RequestOptions.__annotations__)  # of the library's call, never on the wire
MOST_PAIRS, LONGEST_NAME, LONGEST_VALUE = 50, 40, 500  # of metadata
LITERALS = (typing.Literal, typing_extensions.Literal)


def params_class(module: str, name: str) -> Any:
    """For instance `params_class("checkout._session_create_params", "SessionCreateParams")`."""
    return getattr(importlib.import_module(f"stripe.params.{module}"), name)


def decode(encoded: str) -> dict[str, Any]:
    """`a[b][0]=v` to `{"a": {"b": {"0": "v"}}}`; what is a list is for the types to say."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        head, bracket, rest = name.partition("[")
        path = [head, *re.findall(r"\[([^\]]*)\]", bracket + rest)]
        here = tree
        for place, given in enumerate(path):
            step = given or str(len(here))  # a[]=v
            if place == len(path) - 1:
                here[step] = value
                continue
            here = here.setdefault(step, {})
            if not isinstance(here, dict):
                raise bad_parameter(head, f"Invalid object: {head} is both a value and an object")
    return tree


def check(params: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The decoded parameters as Python values of the types that `params`, a class of `stripe.params`, has for them."""
    return _object(params, given, "")


@functools.cache
def fields(params: Any) -> dict[str, tuple[Any, bool]]:
    """Name -> type and whether it must be given, of one of the library's TypedDicts."""
    names = {"StripeContext": stripe.StripeContext, "Mapping": Mapping}
    hints = typing.get_type_hints(params, localns=names, include_extras=True)
    if RequestOptions in params.__orig_bases__:
        hints = {name: hint for name, hint in hints.items() if name not in OPTIONS}
    known = {}
    for name, hint in hints.items():
        wrapper = typing.get_origin(hint)
        bare = typing.get_args(hint)[0] if wrapper in (typing.NotRequired, typing.Required) else hint
        known[name] = (bare, wrapper is not typing.NotRequired)
    return known


def choices(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type. Where words are listed beside `str`, the list is the truth: the library adds `str` only so that
    it need not know every word of tomorrow."""
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return (hint,)
    found = [each for each in typing.get_args(hint) if typing.get_origin(each) is not UntypedStripeObject]
    if any(typing.get_origin(each) in LITERALS and set(typing.get_args(each)) != {""} for each in found):
        found = [each for each in found if each is not str]
    return tuple(found)


def _value(hint: Any, given: Any, where: str) -> Any:
    """Of several alternatives those that have the shape of what was given are tried; `str`, which takes everything, last."""
    known = choices(hint)
    shaped = [each for each in known if _nested(each) is isinstance(given, dict)] or known
    refusals = []
    for choice in sorted(shaped, key=lambda each: each is str):
        try:
            return _one(choice, given, where)
        except Refused as refused:
            refusals.append(refused)
    raise refusals[-1]


def _nested(hint: Any) -> bool:
    return typing_extensions.is_typeddict(hint) or typing.get_origin(hint) in (list, dict)


def _one(hint: Any, given: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if typing_extensions.is_typeddict(hint):
        return _object(hint, given, where)
    if origin is list:
        return _list(typing.get_args(hint)[0], given, where)
    if origin is dict:
        return _pairs(typing.get_args(hint)[1], given, where)
    if isinstance(given, dict):
        raise bad_parameter(where, f"Invalid {LEAVES.get(hint, (None, 'string'))[1]}: {given}")
    if origin in LITERALS:
        return _word(typing.get_args(hint), given, where)
    if hint not in LEAVES:
        raise TypeError(f"{where}: the library now has the type {hint}, which this reader does not know")
    return _leaf(hint, given, where)


def _object(params: Any, given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise bad_parameter(where, "Invalid object", "parameter_invalid_empty" if given == "" else None)
    known = fields(params)
    for name in given:
        if name not in known:
            path = _below(where, name)
            raise bad_parameter(path, f"Received unknown parameter: {path}", "parameter_unknown")
    for name, (_, required) in known.items():
        if required and name not in given:
            path = _below(where, name)
            raise bad_parameter(path, f"Missing required param: {path}.", "parameter_missing")
    return {name: _value(known[name][0], value, _below(where, name)) for name, value in given.items()}


def _list(hint: Any, given: Any, where: str) -> list[Any]:
    if not isinstance(given, dict) or sorted(given) != sorted(str(place) for place in range(len(given))):
        raise bad_parameter(where, "Invalid array")
    return [_value(hint, given[str(place)], f"{where}[{place}]") for place in range(len(given))]


def _pairs(hint: Any, given: Any, where: str) -> dict[str, Any]:
    """Metadata and the like: free names; an empty value takes the name away."""
    if not isinstance(given, dict):
        raise bad_parameter(where, "Invalid hash")
    if len(given) > MOST_PAIRS:
        raise bad_parameter(where, f"Metadata can have up to {MOST_PAIRS} keys, but you passed in {len(given)}.")
    for name, value in given.items():
        if hint is not str:
            continue
        if not isinstance(value, str):
            raise bad_parameter(_below(where, name), "Metadata values must be strings")
        for text, most, what in ((name, LONGEST_NAME, "keys"), (value, LONGEST_VALUE, "values")):
            if len(text) > most:
                message = f"Metadata {what} can have up to {most} characters, but you passed in one that is {len(text)} characters."
                raise bad_parameter(_below(where, name), message)
    return {
        name: value if hint is str else _value(hint, value, _below(where, name)) for name, value in given.items() if value != ""
    }


def _word(words: tuple[Any, ...], given: str, where: str) -> Any:
    for word in words:
        if str(word) == given:
            return word
    raise bad_parameter(where, f"Invalid {where}: must be one of {', '.join(str(word) for word in words)}")


def _leaf(hint: Any, given: str, where: str) -> Any:
    read, name, code = LEAVES[hint]
    if given == "":
        message = (
            f"You passed an empty string for '{where}'. We assume empty values are an attempt to unset a field; it cannot be unset."
        )
        raise bad_parameter(where, message, "parameter_invalid_empty")
    try:
        return read(given)
    except (ValueError, KeyError, InvalidOperation):
        raise bad_parameter(where, f"Invalid {name}: {given}", code) from None


def _whole(given: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", given, re.ASCII):
        raise ValueError
    return int(given)


LEAVES: dict[Any, tuple[Callable[[str], Any], str, str | None]] = {
    str: (str, "string", None),
    int: (_whole, "integer", "parameter_invalid_integer"),
    bool: ({"true": True, "false": False}.__getitem__, "boolean", None),
    float: (float, "decimal", None),
    Decimal: (Decimal, "decimal", None),
}


def _below(where: str, name: str) -> str:
    return f"{where}[{name}]" if where else name
