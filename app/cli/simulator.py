"""`simulator`: the simulated WeCom on its own, to test software with."""

from typing import Annotated

import typer

from app import logs
from app.cli.screen import say, tell
from app.cli.serve import listen
from app.settings import SettingsError
from app.simulator import Simulator, run


def simulator(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8900,
    host: Annotated[str, typer.Option(help="Address to listen on; it has no protection.")] = "127.0.0.1",
    users: Annotated[int, typer.Option(min=0, max=1_000_000, help="People in the company.")] = 500,
    departments: Annotated[int, typer.Option(min=1, max=30_000, help="Departments in it.")] = 40,
    seed: Annotated[int, typer.Option(help="The same seed makes the same company.")] = 1,
) -> None:
    """Run a simulated WeCom.

    It has a company in it and lives until it is stopped; docs/simulator.md describes it.
    """
    logs.configure("warning", "console")
    listen(host, port).close()  # a taken port is told before a large company is made

    def ready(simulated: Simulator) -> None:
        company = simulated.company
        tell(f"base_url         http://{host}:{port}")
        tell(f"corp_id          {company.corp_id}")
        tell(f"agent_id         {company.app.agent_id}")
        tell(f"app_secret       {company.app.secret}")
        tell(f"contacts_secret  {company.contacts.secret}")
        say("The company is simulated, and so are its secrets. Ctrl-C ends it.")

    try:
        run(host, port, users, departments, seed, ready=ready)
    except ValueError as error:
        raise SettingsError(f"Such a company cannot be made:\n  {error}.\nAsk for fewer people.") from None
