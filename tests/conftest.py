"""Shared fixtures. Real data is found in $REFVPS_FIXTURES, else ../shared/fixtures; it is never committed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ.get("REFVPS_FIXTURES") or ROOT.parent / "shared" / "fixtures")

settings.register_profile(
    "refvps", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("refvps")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache, and no user's settings reach a test."""
    for name in [name for name in os.environ if name.startswith("REFVPS_") and name not in _KEPT]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REFVPS_HOME", str(tmp_path_factory.mktemp("home")))


_KEPT = ("REFVPS_FIXTURES", "REFVPS_PROOF")


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of real data; skips where it is absent, fails under ``make proof``."""
    if not REAL.is_dir():
        if os.environ.get("REFVPS_PROOF"):
            pytest.fail(f"make proof needs the real data; not found at {REAL}")
        pytest.skip("real data is absent: set REFVPS_FIXTURES")
    return REAL


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped for want of real data."""
    lacking = [r for r in terminalreporter.stats.get("skipped", []) if "real data is absent" in str(r.longrepr)]
    if lacking:
        terminalreporter.write_line(f"{len(lacking)} tests skipped for want of real data")
