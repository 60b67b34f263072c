"""The composition root: brings up the models in the order given and closes them in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from model_store.errors import ModelStoreError
from service.api.runtime import Runtime
from service.engine.protocol import Engine, Progress
from service.errors import SettingsError
from service.model_memory import Promised
from service.model_runtime import load_served_model
from service.observability.observers import Observer
from service.policy_template import chosen_policy_template
from service.scoring.protocol import ServedModel
from service.settings import Settings
from service.types import ModelId


@asynccontextmanager
async def build_runtime(
    settings: Settings,
    observer: Observer,
    progress: Progress,
    wrap_engine: Callable[[Engine], Engine] = lambda engine: engine,
) -> AsyncIterator[Runtime]:
    """Loads every model of the settings; what was brought up is closed in reverse, also when a later one fails.

    `wrap_engine` as in `load_served_model`.

    Raises:
        SettingsError: If a model cannot be loaded as it is, or two models go by one name.
    """
    policy_template = chosen_policy_template(settings.policy_template)
    async with AsyncExitStack() as open_models:
        models: dict[ModelId, ServedModel] = {}
        promised = Promised()
        for reference in settings.models:
            try:
                model = await load_served_model(reference, settings, observer, progress, wrap_engine, promised)
            except ModelStoreError as error:
                raise SettingsError(str(error), param="models") from error
            open_models.push_async_callback(model.close)
            if model.card.model_id in models:
                raise SettingsError(f"two models are called {model.card.model_id!r}; serve each once", param="models")
            models[model.card.model_id] = model
        yield Runtime(models, settings, policy_template)
