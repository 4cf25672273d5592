"""The checker that pytest puts behind the annotations: an int may stand for a float, as PEP 484 says."""

import functools
import inspect
from importlib.machinery import SourceFileLoader
from unittest.mock import patch

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import _import_hook

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
CHECKED_CALLS = 16
"""Of each function in each process; further ones would double the time of the tests and find the same."""

_checked_always = jaxtyping.jaxtyped
_calls = {}  # of each function, by its code: one inside another is made anew at each call of that, and counted on


def check_first_calls():
    """Let functions be instrumented at their first call, and checked for the first calls only."""
    jaxtyping.jaxtyped = _checked_at_first
    _keep_bytecode_of_others()


def _keep_bytecode_of_others():
    """Let the name for instrumented bytecode hold while such bytecode is looked up, and not while a module is executed.

    Else what a module of ours imports first, such as torch and all that it needs, is not found under that name and
    compiled from its sources.
    """
    loader = getattr(_import_hook, "_JaxtypingLoader", None)
    named = getattr(_import_hook, "_optimized_cache_from_source", None)
    if loader is None or named is None:  # of another version: it takes longer
        return

    def get_code(self, fullname):
        name = functools.partial(named, self._typechecker.get_hash())
        with patch("importlib._bootstrap_external.cache_from_source", name):
            return SourceFileLoader.get_code(self, fullname)

    loader.get_code, loader.exec_module = get_code, SourceFileLoader.exec_module


def _checked_at_first(fn=None, *, typechecker):
    if fn is None:
        return functools.partial(_checked_at_first, typechecker=typechecker)
    if not inspect.isfunction(fn):
        return _checked_always(fn, typechecker=typechecker)
    code = fn.__code__
    calls = _calls.setdefault(id(code), [0, code])  # which keeps the code, so that no other gets its id
    if calls[0] >= CHECKED_CALLS:
        return fn
    checked = None

    @functools.wraps(fn)
    def call(*args, **kwargs):
        __tracebackhide__ = True
        nonlocal checked
        if calls[0] >= CHECKED_CALLS or getattr(call, "__no_type_check__", False):
            return fn(*args, **kwargs)
        calls[0] += 1
        if checked is None:
            checked = _checked_always(fn, typechecker=typechecker)
        return checked(*args, **kwargs)

    return call
