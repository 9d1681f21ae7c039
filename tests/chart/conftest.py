"""Fixtures of the chart's tests: Helm, and copies of the charts with their dependencies in place."""

import shutil
from pathlib import Path

import pytest

from tests.support import helm


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `deploy/helm` in which the example's dependency has been built."""
    if (why := helm.obstacle()) is not None:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("charts") / "helm"
    shutil.copytree(helm.CHARTS, folder, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    helm.run("dependency", "update", str(folder / "example-app"))
    return folder
