"""The application of a server of models: its routes behind the gate of the API."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.responses import Response

import finetune30
from finetune30.api.access_gate import Gate
from finetune30.api.answers import add_error_handlers
from finetune30.api.keys import KeyRing
from finetune30.api.serving import completions, model_list, predictions, system
from finetune30.api.serving.context import CHECKER, Serving
from finetune30.api.serving.error_shapes import add_openai_errors, answer_by_path
from finetune30.api.telemetry import RequestMeter
from finetune30.errors import Finetune30Error
from finetune30.settings import Settings

DESCRIPTION = """Finished models under their names. Errors have one shape: `{"error": code, "message": …, "remedy": …}`,
below `/v1` that of OpenAI. Where keys are in use, send `Authorization: Bearer KEY`."""


def build_serving_app(settings: Settings, serving: Serving, own_key: str) -> FastAPI:
    """Return the application; `own_key` opens versions that are being checked, to the server itself."""
    app = FastAPI(
        title="finetune30 serve",
        version=finetune30.__version__,
        description=DESCRIPTION,
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.serving = serving
    app.state.keys = keys = KeyRing(settings, serving.store, own={own_key: CHECKER})
    for part in (predictions, completions, model_list, system):
        app.include_router(part.router)
    add_error_handlers(app)
    add_openai_errors(app)

    def refuse(error: Finetune30Error, path: str) -> Response:
        serving.telemetry.count_refused(error.code)
        return answer_by_path(error, path)

    app.add_middleware(Gate, settings=settings, keys=lambda: keys, store=lambda: serving.store, answer=refuse)
    app.add_middleware(RequestMeter, telemetry=serving.telemetry)
    return app
