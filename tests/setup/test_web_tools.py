"""The shell around the web app's tests: what is said, and brought, where something is missing."""

import os
import shutil
from pathlib import Path

import pytest

from tests.setup.bare_machine import ROOT, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


BUILD = 'case "$*" in *build*) mkdir -p dist; echo page > dist/index.html;; esac'


def test_without_npm_the_web_apps_tests_are_said_to_be_left_out(machine: Machine) -> None:
    code, said = machine.test_web()
    assert code == 0
    assert "npm is missing; install Node 18.19 or newer" in said
    assert "nodejs npm not installed: only root may" in said
    assert "left out: the web app's tests, in Node and in a browser" in said
    assert machine.test_web(RIFFUSION_REQUIRE_ALL="1")[0] == 1


@pytest.mark.parametrize("version", ["v12.22.9", "v18.9.1", "v18.18.2", "broken"])
def test_a_node_that_is_too_old_is_named(version: str, machine: Machine) -> None:
    machine.has_node(version)
    code, said = machine.test_web()
    assert code == 0
    assert f"{machine.bin}/node is {version}, and 18.19 or newer is needed" in said
    assert "left out" in said
    assert "npm ci" not in said
    code, said = machine.run("make", "web")
    assert code == 2
    assert f"error: {machine.bin}/node is {version}, and 18.19 or newer is needed" in said


@pytest.mark.parametrize("version", ["v18.19.0", "v20.1.0", "v100.0.0"])
def test_a_node_that_is_new_enough_is_taken(version: str, machine: Machine) -> None:
    machine.has_node(version)
    assert machine.run("scripts/web_tool.sh", "npm") == (0, f"{machine.bin}/npm\n")


def test_packages_that_cannot_be_fetched_leave_the_tests_out(machine: Machine) -> None:
    machine.has_node(npm='case $1 in ci) echo "npm error network"; exit 1;; esac')
    code, said = machine.test_web()
    assert code == 0
    assert "npm error network" in said
    assert "left out: the web app's tests" in said
    assert "npm test" not in said
    assert machine.test_web(RIFFUSION_REQUIRE_ALL="1")[0] == 1


@pytest.mark.parametrize("failing", ["run --silent build", "test"])
def test_a_build_or_a_test_that_fails_is_a_failure(failing: str, machine: Machine) -> None:
    machine.has_node(npm=f'case "$*" in {failing!r}*) exit 1;; esac\n{BUILD}')
    code, said = machine.test_web()
    assert code != 0
    assert "left out" not in said


@pytest.mark.parametrize(
    ("script", "reason"),
    [(None, "Chromium is missing; apt-get install chromium"), ("exit 1", "chromium does not run")],
)
def test_without_chromium_the_others_run(script: str | None, reason: str, machine: Machine) -> None:
    machine.has_node(npm=BUILD)
    if script is not None:
        machine.has("chromium", script)
    code, said = machine.test_web()
    assert code == 0
    assert "npm test --silent" in said
    assert reason in said
    assert "chromium not installed: only root may" in said
    assert "left out: the tests in a browser" in said
    assert machine.test_web(RIFFUSION_REQUIRE_ALL="1")[0] == 1


def test_with_all_there_nothing_is_left_out_or_installed(machine: Machine) -> None:
    machine.has_node(npm=BUILD)
    machine.has("chromium", "echo Chromium 120")
    code, said = machine.test_web(RIFFUSION_REQUIRE_ALL="1")
    assert code == 0
    assert "npm run --silent e2e" in said
    assert "install" not in said.replace("npm ci", "")
    assert "left out" not in said


def test_root_with_apt_get_gets_what_is_missing(machine: Machine) -> None:
    """Here apt-get is a script that brings Chromium at once."""
    machine.has_node(npm=BUILD)
    machine.has("id", "echo 0")
    bring = f"printf '#!/bin/sh\\n' > {machine.bin}/chromium; chmod +x {machine.bin}/chromium"
    machine.has("apt-get", f'echo "apt-get $*"; case "$*" in *install*) {bring};; esac')
    (machine.bin / "chmod").symlink_to(shutil.which("chmod") or "")
    assert "RIFFUSION_INSTALL=0 forbids it" in machine.test_web(RIFFUSION_INSTALL="0")[1]
    code, said = machine.test_web(RIFFUSION_REQUIRE_ALL="1")
    assert code == 0
    assert "install -y --no-install-recommends chromium" in said
    assert "npm run --silent e2e" in said


@pytest.mark.parametrize("script", ["exit 100", "exec sleep 60"], ids=["fails", "hangs"])
def test_apt_get_that_fails_or_hangs_is_not_waited_for(script: str, machine: Machine) -> None:
    machine.has_node(npm=BUILD)
    machine.has("id", "echo 0")
    machine.has("apt-get", f"PATH={os.environ['PATH']}; {script}")
    code, said = machine.test_web(INSTALL_TIMEOUT_S="1")
    assert code == 0
    assert "chromium not installed: apt-get failed, or took longer than 1 s" in said
    assert "left out: the tests in a browser" in said


def test_pytest_needs_no_npm() -> None:
    """`make test` runs it first, and only then installs what the web app needs."""
    recipe = (ROOT / "Makefile").read_text().partition("\ntest:")[2].partition("\n\n")[0]
    needed, *steps = recipe.splitlines()
    assert needed.partition("##")[0].split() == ["setup"]
    (pytest_step,) = (i for i, step in enumerate(steps) if "$(PYTEST)" in step)
    (web_step,) = (i for i, step in enumerate(steps) if "scripts/test_web.sh" in step)
    assert pytest_step < web_step
