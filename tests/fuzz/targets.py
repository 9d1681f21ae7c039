"""The fuzz targets: each has SEEDS, and `check`, which raises where a law fails."""

from types import ModuleType

from tests.fuzz import fields, requests, responses, traces

TARGETS: dict[str, ModuleType] = {"requests": requests, "responses": responses, "fields": fields, "traces": traces}
