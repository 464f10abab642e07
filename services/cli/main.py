"""Every command of `cec`, and how it ends."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from pydantic import ValidationError

from services.chassis.settings import Settings, unknown_variables
from services.cli import cycles, ledger, letters, people, probing, reviews, running, webhooks
from services.cli.shell import ClientSettings, CommandError

app = typer.Typer(
    help="Citizen-Engaged Communities: run a civic designation program with an auditable event log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
for name, command in (
    ("demo", running.demo),
    ("up", running.up),
    ("run", running.run_service),
    ("migrate", running.migrate),
    ("replay", running.replay),
    ("token", cycles.token),
    ("announcement", cycles.announcement),
    ("probe", probing.probe),
):
    app.command(name)(command)
for name, group in (
    ("cycle", cycles.cycle_app),
    ("dead-letters", letters.letters_app),
    ("ledger", ledger.ledger_app),
    ("person", people.person_app),
    ("program", cycles.program_app),
    ("receipt", ledger.receipt_app),
    ("review", reviews.review_app),
    ("topics", running.topics_app),
    ("webhook", webhooks.webhook_app),
):
    app.add_typer(group, name=name)


def main() -> None:
    """Run `cec`; every foreseen failure ends with one line on stderr and exit code 1."""
    import httpx

    try:
        unknown = unknown_variables(settings_classes())
        if unknown:
            raise CommandError(f"unknown setting {', '.join(unknown)}: see docs/reference/settings.md")
        # Outside of its standalone mode Typer doesn't raise an Exit: it returns the code.
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except ValidationError as error:
        _fail("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        _fail(f"cannot reach {ClientSettings().public_url} ({reason}); is `cec up` running?")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        _fail(f"cannot open {error.filename} ({(error.strerror or '').lower()}): check the path")
    except (CommandError, RuntimeError, ValueError, OSError) as error:
        _fail(str(error) or type(error).__name__)
    except Exception as error:
        if type(error).__module__.startswith(("typer", "click")) and hasattr(error, "format_message"):
            _fail(error.format_message(), code=2)
        raise


def _fail(message: str, *, code: int = 1) -> NoReturn:
    print(f"cec: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201  (what a command says to its user)
    sys.exit(code)


def settings_classes() -> list[type[Settings]]:
    """Every settings class that some command reads."""
    from services.awards.settings import AwardsSettings
    from services.intake.settings import IntakeSettings
    from services.ledger.settings import LedgerSettings
    from services.notifications.settings import NotificationsSettings
    from services.scoring.settings import ScoringSettings

    return [
        ClientSettings,
        IntakeSettings,
        ScoringSettings,
        AwardsSettings,
        NotificationsSettings,
        LedgerSettings,
    ]
