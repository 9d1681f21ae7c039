"""Decides whether a request is traced: the samplers of the OpenTelemetry specification as plain functions.

Same decisions as the SDK's samplers, which the tests compare, without building contexts and attribute dicts first.
Samplers of entry points are not consulted; their names are warned about like any unknown word.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from sidecar.telemetry.environment import log, text

Sampler: TypeAlias = Callable[[int, bool | None], bool]
"""`sampler(trace_id, parent_sampled)`; None: no parent, or one that leaves the decision to us."""

_LOW_64 = (1 << 64) - 1


def always_on(_trace_id: int, _parent_sampled: bool | None) -> bool:
    """Trace everything."""
    return True


def always_off(_trace_id: int, _parent_sampled: bool | None) -> bool:
    """Trace nothing."""
    return False


def trace_id_ratio(rate: float) -> Sampler:
    """Trace this share of all trace ids: the low 64 bits below `rate` of their range, as the SDK has it."""
    bound = round(rate * (_LOW_64 + 1))

    def decide(trace_id: int, _parent_sampled: bool | None) -> bool:
        return trace_id & _LOW_64 < bound

    return decide


def parent_based(root: Sampler) -> Sampler:
    """Do as the parent did; `root` decides where there is none."""

    def decide(trace_id: int, parent_sampled: bool | None) -> bool:
        return root(trace_id, None) if parent_sampled is None else parent_sampled

    return decide


def from_environment(environ: Mapping[str, str]) -> Sampler:
    """The sampler of OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG; what is not known is warned about and ignored."""
    name = text(environ, "OTEL_TRACES_SAMPLER", default="parentbased_always_on").lower()
    kind = name.removeprefix("parentbased_")
    if kind == "always_on":
        sampler: Sampler = always_on
    elif kind == "always_off":
        sampler = always_off
    elif kind == "traceidratio":
        sampler = trace_id_ratio(_ratio(environ))
    else:
        log.warning("OTEL_TRACES_SAMPLER: %s is not known; parentbased_always_on is used", ascii(name[:80]))
        return parent_based(always_on)
    return parent_based(sampler) if name != kind else sampler


def _ratio(environ: Mapping[str, str]) -> float:
    """The specification: a missing or invalid argument counts as 1.0, an invalid one with a warning."""
    word = text(environ, "OTEL_TRACES_SAMPLER_ARG", default="1.0")
    try:
        rate = float(word)
    except ValueError:
        rate = -1.0
    if not 0.0 <= rate <= 1.0:
        log.warning("OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1; 1 is used")
        return 1.0
    return rate
