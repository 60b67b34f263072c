"""What start-up says of the processor's number formats comes before the long part, and changes nothing."""

from service import model_runtime
from service.observability.observers import RecordingObserver
from service.settings import Settings


async def said_while_loading(monkeypatch, advice):
    monkeypatch.setattr(model_runtime, "dtype_advice", lambda config, dtype: advice)
    said = []
    model = await model_runtime.load_served_model("demo", Settings(device="cpu"), RecordingObserver(), said.append)
    await model.close()
    return said, model.card.fingerprint


async def test_advice_is_said_before_the_engine_warms_up_and_moves_no_fingerprint(monkeypatch):
    silent, fingerprint = await said_while_loading(monkeypatch, None)
    said, advised = await said_while_loading(monkeypatch, "another format would be faster")

    (place,) = [number for number, words in enumerate(said) if "advice: another format would be faster" in words]
    assert place < min(number for number, words in enumerate(said) if "comparing packed attention" in words)
    assert not any("advice" in words for words in silent)
    assert advised == fingerprint
