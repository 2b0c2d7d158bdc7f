"""The loihi2 entry without hardware: it probes quietly and says what to do."""

from __future__ import annotations

import pytest

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.errors import Unavailable
from spikegpt_neuro.network.random_networks import RandomShape, random_network


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NXSDKHOST", "LOIHI_GEN", "SLURM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.which", lambda command: None)


def test_probing_names_everything_that_was_looked_for() -> None:
    availability = get_backend("loihi2").available()
    assert not availability.ok
    assert availability.missing == ("lava-loihi", "a Loihi 2 host")
    assert availability.probed == (
        "lava-loihi (module lava.utils.loihi2_profiler): not found",
        "Ethernet host (NXSDKHOST): not set",
        "SLURM (command sinfo): not found",
        "chip generation (LOIHI_GEN): not set",
    )


def test_opening_without_hardware_is_unavailable_with_advice() -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=8, vocabulary_size=4))
    with pytest.raises(Unavailable, match="--backend emulator or --backend lava") as caught:
        get_backend("loihi2").open(network)
    assert caught.value.exit_code == 3
    assert len(caught.value.probed) == 4


def test_a_loihi_1_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOIHI_GEN", "N2A2")
    monkeypatch.setenv("NXSDKHOST", "10.0.0.1")
    availability = get_backend("loihi2").available()
    assert any("LOIHI_GEN is N2A2" in missing for missing in availability.missing)
    assert "a Loihi 2 host" not in availability.missing
