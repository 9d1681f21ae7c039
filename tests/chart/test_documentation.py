"""The examples of docs/kubernetes.md do what the page says."""

import re
from pathlib import Path

import pytest

from sidecar.config import load
from tests.support import helm

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()
BLOCKS = re.findall(r"```yaml\n(# [^\n]+)\n(.*?)```", PAGE, re.DOTALL)
VALUES = [text for kind, text in BLOCKS if kind == "# values of the chart"]
CONFIGURATIONS = [text for kind, text in BLOCKS if kind == "# configuration"]


def test_every_example_says_what_it_is() -> None:
    assert len(VALUES) == 2
    assert len(CONFIGURATIONS) == 1
    assert PAGE.count("```yaml") == len(BLOCKS)


@pytest.mark.parametrize("text", VALUES)
def test_the_chart_takes_the_values(charts: Path, tmp_path: Path, text: str) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(text)
    assert helm.template(charts / "sidecar", "web", "shop", "--values", str(values))


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_the_sidecar_takes_the_configuration(text: str) -> None:
    assert load.load_text(text.encode(), "docs/kubernetes.md").kubernetes.context == "staging"
