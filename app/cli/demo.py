"""`demo`: a simulated WeCom, the service and a source in one process, talking to each other over real HTTP."""

import asyncio
import shlex
import shutil
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer

from app.cli.exits import Exit
from app.cli.life import Story, live
from app.cli.screen import say, tell
from app.cli.serve import Host, Port, listen, overridden, serving, told_to_stop
from app.cli.session import read_settings
from app.cli.watch import Watch
from app.errors import AskAdmin
from app.main import create_app
from app.settings import Settings
from app.simulator import Simulator, SimulatorSettings, generate_company, running
from app.store.db import hold_worker_lock, url_of
from app.store.keys import load_keys
from app.store.migrations import migrate

LATENCY: Final = 0.1
"""Seconds that the simulated WeCom takes to answer, about what the real one does."""

VERIFY_ATTEMPTS: Final = 5
LOCK_FILE: Final = "worker.lock"
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not listened on
# Here everybody moves all the time; in a company as many moves would be an accident to stop.
GUARD: Final = {"max_percent": 100, "max_count": 1_000_000}


@dataclass(frozen=True, slots=True)
class Demo:
    """The running parts. `api` is signed in as the administrator."""

    simulator: Simulator
    wecom_url: str
    url: str
    token_file: Path
    api: httpx.AsyncClient


def demo(
    host: Host = None,
    port: Port = None,
    users: Annotated[int, typer.Option(min=1, max=1_000_000, help="People in the simulated company.")] = 500,
    departments: Annotated[int, typer.Option(min=2, max=30_000, help="Departments in it.")] = 40,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two things that happen in it.")] = 3.0,
    events: Annotated[int | None, typer.Option(min=1, help="End after so many applied events.")] = None,
) -> None:
    """See it work without a WeCom account.

    A simulated company is synced, then lives, and its callbacks arrive. Everything is kept in the folder `demo` of
    WECOM_SYNC_DATA_DIR, which is made anew and removed at the end.
    """
    given = overridden(read_settings(), host, port)
    own: dict[str, Any] = {
        "data_dir": given.data_dir / "demo",
        "database_url": None,
        "admin_token": None,
        "encryption_keys": None,
        "worker": "embedded",
        "public_url": f"http://{EVERYWHERE.get(given.host, given.host)}:{given.port}",
    }
    raise typer.Exit(asyncio.run(_until_told(given.model_copy(update=own), users, departments, every, events)))


async def _until_told(settings: Settings, users: int, departments: int, every: float, events: int | None) -> Exit:
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(told_to_stop())
        stack.enter_context(_folder(settings.data_dir))
        listener = stack.enter_context(listen(settings.host, settings.port))
        simulator = Simulator(generate_company(users, departments), SimulatorSettings(latency=LATENCY))
        demo = await stack.enter_async_context(_running(settings, simulator, listener))
        await _until_one_ends(_show(demo, every, events), stop.wait())
    say("Ended; nothing of it is kept.")
    return Exit.OK


async def _show(demo: Demo, every: float, events: int | None) -> None:
    """The demonstration itself."""
    company = demo.simulator.company
    people, places = len(company.userids), len(company.records.departments)
    say(f"A simulated WeCom at {demo.wecom_url}: {people} people in {places} departments.")
    source = await _add_source(demo)
    await _sync(demo, source)
    await _save_callback(demo, source)
    _tell_what_to_try(demo, source)
    story = await Story.begun(demo.api, source)
    await _until_one_ends(story.follow(events), live(company, every))


async def _until_one_ends(*work: Coroutine[Any, Any, Any]) -> None:
    """Do both until one ends, then stop the other; raises what the first one failed with."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()


@asynccontextmanager
async def _running(settings: Settings, simulator: Simulator, listener: Any) -> AsyncIterator[Demo]:
    keys = load_keys(settings)
    await migrate(url_of(settings))
    signed_in = {"Authorization": f"Bearer {keys.admin_token}"}
    async with (
        running(simulator) as wecom_url,
        serving(create_app(settings), listener),
        httpx.AsyncClient(base_url=f"{settings.public_url}/api/v1", headers=signed_in, trust_env=False) as api,
    ):
        yield Demo(simulator, wecom_url, settings.public_url, settings.data_dir.absolute() / "admin-token", api)


def _folder(folder: Path) -> ExitStack:
    """The folder of the demonstration, empty, and removed at the end. Raises WorkerTaken while another one uses it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(hold_worker_lock(folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for left in folder.iterdir():
            if left.name != LOCK_FILE:
                left.unlink()
        return stack.pop_all()


async def _add_source(demo: Demo) -> str:
    company = demo.simulator.company
    config = {
        "corp_id": company.corp_id,
        "agent_id": company.app.agent_id,
        "app_secret": company.app.secret,
        "contacts_secret": company.contacts.secret,
        "base_url": demo.wecom_url,
    }
    body = {"name": "Demo", "kind": "wecom", "config": config, "schedule": None, "guard": GUARD}
    source: str = (await called(demo.api, "POST", "/sources", json=body))["id"]
    say(f"The service runs at {demo.url}; it has a source now: {source}")
    return source


async def _sync(demo: Demo, source: str) -> None:
    run = await called(demo.api, "POST", f"/sources/{source}/runs", json={})
    with Watch() as watch:
        while run["state"] in ("queued", "running"):
            await asyncio.sleep(0.1)
            run = await called(demo.api, "GET", f"/runs/{run['id']}")
            watch.show(run["stage"], run["progress"]["done"], run["progress"]["total"])
    if run["state"] != "succeeded":
        raise AskAdmin("demo.sync", f"the full sync ended {run['state']}", (run["error"] or {}).get("message", ""))
    counts = run["counts"]
    made = f"{counts['users']['created']} people, {counts['departments']['created']} departments"
    say(f"Full sync done: {made}, {run['api_calls']} calls of WeCom's API.")


async def _save_callback(demo: Demo, source: str) -> None:
    """Do what an administrator does in WeCom's console: save the URL, which WeCom verifies at that moment."""
    pair = await called(demo.api, "POST", f"/sources/{source}/callback-credentials")
    for attempt in range(VERIFY_ATTEMPTS):
        saved = await demo.simulator.callbacks.save(
            demo.simulator.company.contacts, pair["callback_url"], pair["token"], pair["encoding_aes_key"]
        )
        if saved.ok:
            break
        if attempt == VERIFY_ATTEMPTS - 1:
            raise AskAdmin("demo.callback", f"the callback URL was not verified: {saved.reason}")
    say("The callback URL is saved in the simulated WeCom and verified.")


async def called(api: httpx.AsyncClient, method: str, path: str, **given: Any) -> Any:
    """An answer of our own API; a refusal is a bug here."""
    response = await api.request(method, path, **given)
    response.raise_for_status()
    return response.json()


def _tell_what_to_try(demo: Demo, source: str) -> None:
    token = shlex.quote(str(demo.token_file))
    signed_in = f'-H "Authorization: Bearer $(cat {token})"'
    somebody = next(user.userid for user in demo.simulator.company.records.users.values())
    leave = shlex.quote(f'{{"action": "leave", "userid": "{somebody}"}}')
    api, as_json = f"{demo.url}/api/v1", "-H 'Content-Type: application/json'"
    lines = {
        "People whose name holds 王": f"curl -sG {api}/users --data-urlencode q=王 -d limit=3 {signed_in}",
        "Departments": f"curl -s '{api}/departments?source_id={source}&limit=3' {signed_in}",
        "Every change in order": f"curl -s '{api}/changes?source_id={source}&after=0&limit=3' {signed_in}",
        "The events that arrived": f"curl -s '{api}/events?source_id={source}&limit=3' {signed_in}",
        "A dry run": f"curl -s {api}/sources/{source}/runs -d '{{\"dry_run\": true}}' {as_json} {signed_in}",
        "Let somebody leave the company": f"curl -s {demo.wecom_url}/control/mutations -d {leave}",
    }
    tell("")
    tell(f"API documentation:      {demo.url}/docs")
    tell(f"Administrator's token:  {demo.token_file}")
    tell("\nTo try in another terminal:")
    for title, line in lines.items():
        tell(f"\n# {title}\n{line}")
    tell("\nNow the company lives; each line is a callback that has reached the directory. Ctrl-C ends it.\n")
