"""Coverage-guided fuzzing of what reads peers' bytes: each target has SEEDS and `check`, which raises where a law fails."""

from types import ModuleType

from tests.fuzz import fields, requests, responses, traces

TARGETS: dict[str, ModuleType] = {"requests": requests, "responses": responses, "fields": fields, "traces": traces}
