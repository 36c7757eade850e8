"""The command line: the only place that prints, shows progress and exits.

Commands are imported when they are called, so that ``refvps --help`` stays instant.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from refvps import __version__
from refvps.errors import RefvpsError

COMMANDS: dict[str, tuple[str, str]] = {
    "evaluate": ("refvps.cli.evaluate:evaluate", "Score predictions and write the result with its counts."),
    "validate": ("refvps.cli.validate:validate", "Say everything that is wrong with predictions, before any scoring."),
    "compare": ("refvps.cli.compare:compare", "Paired difference of results: interval, p, per concept."),
    "predict": ("refvps.cli.predict:predict", "Run a predictor over a benchmark, or over your own frames."),
    "bench": ("refvps.cli.bench:bench", "Frames per second and peak memory of a predictor, on generated clips."),
    "report": ("refvps.cli.report:report", "Plots and tables for papers, from results."),
    "explain": ("refvps.cli.explain:explain", "Show the counts and the arithmetic behind a score, down to one frame."),
    "overlay": ("refvps.cli.overlay:overlay", "Draw a contact sheet and films: target, Ignore, prediction, errors."),
    "list": ("refvps.cli.listing:listing", "List benchmarks, predictors or metrics."),
    "download": ("refvps.cli.dataset.download:download", "Put a benchmark on this machine."),
    "extract": ("refvps.cli.dataset.extract:extract", "Take the frames of videos at exactly 24 per second."),
    "curate": ("refvps.cli.dataset.curate:curate", "Propose cuts, crops and rejections of videos; a person decides."),
    "expressions": (
        "refvps.cli.dataset.expressions:expressions",
        'List the sentences "the <class>" of BURST or of VSPW\'s stuff classes.',
    ),
    "export": ("refvps.cli.dataset.export:export", "Write a benchmark, predictions or a result in another layout."),
    "import": ("refvps.cli.dataset.import_:import_", "Read predictions of any layout into the canonical form."),
    "stats": ("refvps.cli.dataset.stats:stats", "Count a benchmark: its table, clip lengths, what was found and kept."),
    "annotate": (
        "refvps.cli.dataset.annotate:annotate",
        "Import masks of other tools as annotations, and check a data set.",
    ),
    "purge": ("refvps.cli.dataset.purge:purge", "Take withdrawn clips off the disk, out of benchmarks and scores."),
    "doctor": ("refvps.cli.doctor:doctor", "Look at this installation and machine; one block for an issue."),
    "completion": ("refvps.cli.completion:completion", "Print the tab completion script of your shell."),
}
"""Command name to (place, one-line help); the help is repeated here so that nothing is imported for it."""

CITATION = """@inproceedings{bagchi2025refereverything,
  title     = {ReferEverything: Towards Segmenting Everything We Can Speak of in Videos},
  author    = {Anurag Bagchi and Zhipeng Bao and Yu-Xiong Wang and Pavel Tokmakov and Martial Hebert},
  booktitle = {ICCV},
  year      = {2025},
  note      = {arXiv:2410.23287}
}"""


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        from importlib import import_module

        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _cite(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(CITATION)
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "REFVPS", "max_content_width": 110},
    epilog="Example: refvps evaluate --pred preds/ -b sample",
)
@click.version_option(__version__, prog_name="refvps")
@click.option("--cite", is_flag=True, is_eager=True, expose_value=False, callback=_cite, help="Print how to cite.")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of a bug.")
def cli(verbose: bool) -> None:
    """Evaluate models that segment, in video, whatever a sentence describes.

    Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 a bug of
    refvps, 2 wrong usage, 3 data not on this machine, 4 an input file cannot be used, 5 network or
    checksum, 6 compare --fail-if-worse, 7 a check failed, 130 interrupted.
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with a code that means something (see :data:`refvps.errors.EXIT_CODES`)."""
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the command line; the exit code, with errors already printed to standard error."""
    return run_command(cli, "refvps", args)


KEPT = "what was finished is kept, run the same command again to go on"


def run_command(command: click.Command, name: str, args: list[str] | None = None, *, interrupted: str = KEPT) -> int:
    """Run a command line of ours, this one or that of another package, by the same exit codes and messages.

    ``interrupted`` is what Ctrl-C leaves behind, in words.
    """
    given = sys.argv[1:] if args is None else args
    try:
        value: Any = command.main(args=list(given), prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return value if isinstance(value, int) else 0
    except RefvpsError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"interrupted; {interrupted}", err=True)
        return 130
    except BrokenPipeError:  # the reader, such as head, went away
        sys.stderr.close()
        return 0
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        click.echo(
            f"error: {error.strerror or error}{place}\nFix: check the path, its permissions and the disk", err=True
        )
        return 4
    except Exception as error:
        if "-v" in given or "--verbose" in given:
            import traceback

            traceback.print_exc()
        click.echo(
            f"error: this is a bug in {name}: {type(error).__name__}: {error}\n"
            f"Fix: report it with the output of the same command under {name} -v",
            err=True,
        )
        return 1
