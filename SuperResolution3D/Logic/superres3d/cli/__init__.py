"""The command line: a file a command.  The Slicer panel starts its worker with it, too."""

from __future__ import annotations

import errno
import io
import signal
import sys
from contextlib import suppress
from typing import Annotated

import typer

from .. import __version__
from ..errors import Cancelled, ResourceError
from ..staging import reason_of
from . import batch, check, demo, derive, evaluate, info, live, methods, race, study, train, upscale
from .worker import interrupt

_UNTOLD = (errno.ENOSPC, errno.EIO, errno.EFBIG)  # of a terminal, or a file in its place

app = typer.Typer(
    name="superres3d",
    help="Sharper CT and MR volumes by convolutional networks. Research software, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (upscale.upscale, check.check, batch.batch, methods.methods, info.info, train.train, evaluate.evaluate, demo.demo):  # in the order of the help
    app.command()(command)
app.add_typer(study.study)
app.command(hidden=True)(live.live)  # these three are for the panel
app.command(hidden=True)(derive.derive)
app.command(hidden=True)(race.race)


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"superres3d {__version__}")
        raise typer.Exit()


def main() -> None:
    """Entry point: every failure is one sentence and a non-zero exit code."""
    for stream in (sys.stdout, sys.stderr):  # a name may have letters that a terminal cannot write
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        signal.signal(signal.SIGTERM, interrupt)
        app()
    except KeyboardInterrupt:  # before a command could take it
        raise SystemExit(Cancelled.exit_code) from None
    except OSError as error:
        if error.filename or error.errno not in _UNTOLD:
            raise
        with suppress(OSError):
            print(f"Error: What there is to tell could not be written ({reason_of(error)}); send the output elsewhere.", file=sys.stderr, flush=True)
        raise SystemExit(ResourceError.exit_code) from None
