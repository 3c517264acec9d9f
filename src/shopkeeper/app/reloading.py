"""Picks up changes of the configuration without a restart: reads it, builds the application anew, and replaces it.

A configuration that cannot be used changes nothing: the one before stays in effect, the log names every problem, and
`/health/ready` of the admin port says so. So does one that changes a setting which only a start can change.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from shopkeeper.app.application import Application, Misconfigured, adopt, build_again, load_sample_data
from shopkeeper.app.application_findings import application_findings
from shopkeeper.app.running import RunningApplication
from shopkeeper.settings import (
    Settings,
    SettingsError,
    files_of,
    findings,
    require_usable_beside,
    revision_of,
    start_values,
)
from shopkeeper.settings.file_state import Look, changed, look_at

log = structlog.get_logger("shopkeeper.configuration")

POLL: Final = 0.05
"""Seconds between two looks at the files. A change counts once two looks agree, because files are written in pieces."""


class Reloader:
    """Watches the files of the configuration: of the one in effect, and of the one that was refused last.

    Args:
        load: reads the settings as the start did. Raises `SettingsError`.
        running: the application to replace.
        seen: the states of the files when the application was built from them, as `look_at_files_of` returns it.
        poll: seconds between two looks.
    """

    def __init__(
        self, load: Callable[[], Settings], running: RunningApplication, *, seen: Look, poll: float = POLL
    ) -> None:
        self._load, self._running, self._poll = load, running, poll
        self._read = seen

    async def run(self) -> None:
        """Watch until cancelled."""
        seen = self._read
        while True:
            await asyncio.sleep(self._poll)
            look = await asyncio.to_thread(self._look)
            settled, seen = not changed(look, seen), look
            if settled and changed(look, self._read) and self._running.may_replace:
                self._read = look
                await self._reload()

    def _look(self) -> Look:
        return {file: look_at(file) for file in self._read}

    async def _reload(self) -> None:
        application = self._running.application
        check, tally = application.lasting.configuration, application.infrastructure.tally
        try:
            settings = await asyncio.to_thread(self._usable, application.infrastructure.settings)
            await self._replace(application, settings)
        except (SettingsError, Misconfigured) as refused:
            check.refused = True
            tally.count("config_reloads", "refused")
            log.error("configuration.refused", problems=str(refused).splitlines())
        except Exception:  # a bug here must not stop the watching, nor the server
            check.refused = True
            tally.count("config_reloads", "refused")
            log.exception("configuration.refused")
        else:
            check.refused = False
            tally.count("config_reloads", "succeeded")
            log.info("configuration.reloaded", revision=revision_of(settings))
            await self._tell_findings(self._running.application)

    async def _tell_findings(self, application: Application) -> None:
        """Log what a start prints about its configuration."""
        try:
            found = [*findings(application.infrastructure.settings), *await application_findings(application)]
        except Exception:  # what is advice must not stop the watching
            log.exception("configuration.not_looked_at")
            return
        for finding in found:
            tell = log.info if finding.level == "notice" else log.warning
            tell("configuration.finding", level_of_finding=finding.level, sentence=finding.sentence)

    def _usable(self, former: Settings) -> Settings:
        settings = self._load().with_made_up_secrets_of(former)
        self._watch(former, settings)
        require_usable_beside(start_values(former), settings)
        return settings

    def _watch(self, *each: Settings) -> None:
        """Watch the files of these settings. What was looked at already is not looked at again: it may have changed."""
        files = dict.fromkeys(file for settings in each for file in files_of(settings))
        self._read = {file: self._read.get(file) or look_at(file) for file in files}

    async def _replace(self, former: Application, settings: Settings) -> None:
        application = await build_again(former, settings)
        try:
            await application.listen()
            if settings.demo:
                await load_sample_data(application)
        except BaseException:
            await application.close(other=former)
            raise
        adopt(application)
        self._running.replace(application)
        self._watch(settings)
