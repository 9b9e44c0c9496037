"""The program: its commands, and what becomes of errors. Nobody ever sees a traceback with the values of variables."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from app import logs
from app.cli import demo, directory, doctor, document, event, serve, simulator, source, sync, target
from app.cli import run as runs
from app.cli.exits import Exit, of_error
from app.cli.screen import complain, say
from app.errors import ServiceError, WorkerTaken
from app.settings import SettingsError

program = typer.Typer(
    name="wecom-sync",
    help="Keeps a copy of your WeCom (企业微信) directory in sync.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (serve.serve, serve.worker, serve.migrate, demo.demo, simulator.simulator):
    program.command()(command)
program.add_typer(source.group, name="source")
program.command()(sync.sync)
program.add_typer(runs.group, name="run")
program.add_typer(event.group, name="event")
program.add_typer(target.group, name="target")
program.add_typer(directory.group, name="directory")
program.command()(doctor.doctor)
program.command()(document.openapi)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"wecom-sync {version('wecom-sync')}\n")
        raise typer.Exit


@program.callback()
def _program(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Keeps a copy of your WeCom (企业微信) directory in sync."""


def run() -> None:
    """Run the command that the arguments name; always ends by SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a narrow locale costs a letter, not the command
    try:
        program(prog_name="wecom-sync")
    except SettingsError as error:
        say(str(error))
        code = Exit.USAGE
    except ServiceError as error:
        complain(error)
        code = of_error(error)
    except WorkerTaken as error:
        say(f"Error: {error} [worker.taken]")
        say("Hint: stop that process first; two at once are possible with PostgreSQL.")
        code = of_error(error)
    except Exception as error:  # a bug: it is told in one line, never as a traceback with values
        _report(error)
        code = Exit.UNEXPECTED
    sys.exit(code)


def _report(error: Exception) -> None:
    lines = logs.anatomy(None, "", {"event": "", "exc_info": error})["exception"].splitlines()
    places = [line.strip() for line in lines if line.startswith("  ")]
    say(f"Error: unexpected {type(error).__name__}, {places[-1] if places else 'place unknown'} [internal]")
    say("Hint: this is a mistake in the program; please report it with this line.")
