"""The `bookreel` command. Each subcommand is a module of this package, imported only when it is called."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
from typing import Final

import click

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS: Final[dict[str, str]] = {
    "demo": "Record the embedded exchange with faults on, and compare with the truth.",
    "record": "Record a venue's feeds until stopped.",
    "import": "Take captured frames into an archive, by the same pipeline as live ones.",
    "seal": "Turn closed journal segments into Parquet.",
    "compact": "Merge the files of each day that is over.",
    "merge": "Make one archive of two that recorded the same feed.",
    "verify": "Prove that what is stored is what was recorded.",
    "gaps": "List the holes, each with its cause.",
    "info": "Say what an archive holds.",
    "forecast": "Say how long the disk lasts.",
    "sql": "Ask an archive with SQL, the newest second included.",
    "book": "Show the order book at an instant.",
    "replay": "Write what was recorded as lines of JSON, as fast as possible or at its own pace.",
    "serve": "Serve an archive over HTTP.",
    "exchange": "Run an exchange of one's own, with faults to order.",
}
"""Name to the line shown by `bookreel --help`; the code is in `bookreel.cli.<name>` as `command`."""

HELP: Final = {"help_option_names": ["-h", "--help"]}

EXAMPLES: Final = """\b
Examples:
  bookreel demo
  bookreel record --symbols btcusdt,ethusdt --feeds mbp.150,trade --archive ./archive
  bookreel sql --archive ./archive "SELECT * FROM bbo_at('btcusdt', now())"
  bookreel book --archive ./archive --symbol btcusdt --at 2026-11-20T12:00:00Z
  bookreel replay --archive ./archive --symbols btcusdt --tables trades,bbo --speed 10
"""

BAD_USAGE: Final = 2
UNREADABLE: Final = 3
INTERRUPTED: Final = 130

WRONG_PLACES: Final = frozenset(
    {
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.EEXIST,
        errno.EISDIR,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EROFS,
    }
)
"""What the operating system says of a path or an address that is wrong in itself, not of what is there."""


class LazyGroup(click.Group):
    """Knows its commands' names, imports one when it is called, and offers the nearest name for a wrong one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = "import_" if cmd_name == "import" else cmd_name  # the one name that is a keyword
        command = importlib.import_module(f"bookreel.cli.{module}").command
        assert isinstance(command, click.Command), "every module of the table has a command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=2, cutoff=0.5)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has seen enough. What is still buffered must not complain at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        return result


@click.group(cls=LazyGroup, epilog=EXAMPLES, context_settings=HELP)
@click.version_option(package_name="bookreel", message="bookreel %(version)s")
def cli() -> None:
    """Record an exchange's market data, prove what was recorded, rebuild the order book at any instant."""


def main() -> None:
    """Run the command line. Exit code 0 ok, 1 a check failed, 2 bad usage or config, 3 data unreadable."""
    try:
        code = cli.main(prog_name="bookreel", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(BAD_USAGE)
    except click.ClickException as error:
        _complain(_sentence(error))
        sys.exit(error.exit_code)
    except Exception as error:
        # Every error of ours says what to do and carries its exit code; anything else is a bug and shows where.
        exit_code = getattr(error, "exit_code", None)
        if exit_code is not None:
            _complain(str(error))
        elif isinstance(error, OSError) and error.strerror:
            what = f"{error.filename}: " if isinstance(error.filename, str) else ""
            _complain(f"{what}{error.strerror}")
            exit_code = BAD_USAGE if error.errno in WRONG_PLACES else UNREADABLE
        else:
            raise
        sys.exit(exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: click.ClickException) -> str:
    text = error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        stop = "" if text.endswith((".", "?")) else "."
        text = f"{text}{stop} See {error.ctx.command_path} --help."
    return text


def _complain(sentence: str) -> None:
    click.echo(f"bookreel: {sentence}", err=True)
