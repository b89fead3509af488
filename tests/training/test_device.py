"""Devices by name, and process-wide settings put back as they were."""

import pytest
import torch

from variolite.errors import TrainingError
from variolite.training.device import SMALL_NETWORK, choose_device, single_thread


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cuda:x", "1", "tpu:0", "cpu "])
def test_unknown_devices_list_the_known_ones(name):
    with pytest.raises(TrainingError, match=r"--device: .*Choose auto, cpu, cuda, cuda:1 or mps"):
        choose_device(name, 10)


def _machine(monkeypatch, *, cards=0, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_absent_devices_and_a_number_beyond_the_last_are_refused(monkeypatch):
    _machine(monkeypatch)
    for name in ("meta", "xpu", "cpu:1", "cuda", "cuda:0", "mps"):
        wanted = f"'{name}' is not available on this machine.*--device auto"
        with pytest.raises(TrainingError, match=wanted):
            choose_device(name, 10)
    _machine(monkeypatch, cards=2)
    assert choose_device("cuda:1", 10)[0] == torch.device("cuda:1")
    assert choose_device("cuda", 10)[0] == torch.device("cuda")
    with pytest.raises(TrainingError, match="'cuda:2' is not available"):
        choose_device("cuda:2", 10)


def test_auto_takes_a_gpu_for_large_networks_only(monkeypatch):
    for machine, work, expected, reason in (
        ({"cards": 1}, SMALL_NETWORK - 1, "cpu", "too small"),
        ({"cards": 1}, SMALL_NETWORK, "cuda", "a card"),
        ({"mps": True}, SMALL_NETWORK, "mps", "GPU of this machine"),
        ({}, SMALL_NETWORK, "cpu", "no GPU"),
    ):
        _machine(monkeypatch, **machine)
        device, why = choose_device("auto", work)
        assert (device.type, reason in why) == (expected, True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_trains_to_the_same_objective_and_loads_on_the_cpu(train_toy):
    on_cpu, on_gpu = train_toy(epochs=12), train_toy(epochs=12, device="cuda")
    assert next(on_gpu.model.module.parameters()).device.type == "cpu"
    assert on_gpu.best[0] == pytest.approx(on_cpu.best[0], abs=0.3)


def _flushes():
    return float(torch.tensor(1e-310, dtype=torch.float64) * 1.0) == 0.0


@pytest.fixture
def restored():
    threads = torch.get_num_threads()
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("flushing", [False, True])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("work", [SMALL_NETWORK - 1, SMALL_NETWORK])
def test_threads_and_denormals_are_put_back(restored, flushing, fails, work):
    if not torch.set_flush_denormal(flushing) and flushing:
        pytest.skip("this processor cannot flush denormals")
    torch.set_num_threads(3)
    try:
        with single_thread(work):
            assert torch.get_num_threads() == (1 if work < SMALL_NETWORK else 3)
            assert _flushes()
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert torch.get_num_threads() == 3
    assert _flushes() is flushing


def test_a_fit_puts_them_back_too(restored, train_toy):
    torch.set_num_threads(2)
    train_toy(epochs=3)
    assert torch.get_num_threads() == 2
    assert not _flushes()
