"""The program `wecom-sync`, also `python -m app`."""

from app.cli.program import run


def main() -> None:
    """Run the command that the arguments name; ends by SystemExit with one of the exit codes of `cli/exits.py`."""
    run()


if __name__ == "__main__":
    main()
