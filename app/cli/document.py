"""`openapi`: the description of the API."""

import typer

from app import logs
from app.cli.screen import as_json
from app.main import create_app
from app.settings import Settings


def openapi() -> None:
    """Print the OpenAPI document."""
    logs.configure("warning", "console")
    as_json(create_app(Settings.model_construct()).openapi())
    raise typer.Exit
