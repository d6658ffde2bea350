"""The files of a run on the controller's disk, from the lock at its start to what remains at its end."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..jobs import start_files
from ..jobs.source_files import SourceFiles
from ..snakemake_internals import dag
from ..snakemake_internals import settings as snakemake_settings
from ..store.attempt_notes import AttemptNotes
from ..store.journal_writer import Journal
from ..store.old_runs import remove_old_runs
from ..store.workdir import Workdir, new_run, typed_workdir


class RunFiles:
    """The locked working directory, the journal, the notes about attempts, and the copies of source files."""

    def __init__(self, workflow: Any, settings: Any, warn: Callable[[str], None]) -> None:
        """Raises HarborError if another controller has locked the working directory, or if it cannot be written."""
        self._warn = warn
        self.workdir = Workdir(Path(typed_workdir()), new_run(), warn)
        self.workdir.acquire()
        try:
            self.sources = SourceFiles(workflow, self.workdir.directory / "sources")
            self.journal = Journal(self.workdir.run, warn)
            remove_old_runs(self.journal.directory.parent, settings.keep_runs, settings.keep_days)
            self.workdir.write_pointer(self.journal.path)
            self._describe_run(workflow, settings)
            self.notes = AttemptNotes(self.workdir.directory / "notes", warn)
        except BaseException:
            self.release()
            raise

    def _describe_run(self, workflow: Any, settings: Any) -> None:
        """Write what `harbor status` and `harbor nodes` show about the run. Nothing in it is secret."""
        paths = {"hostfile": settings.hostfile, "ssh_config": settings.ssh_config}
        absolute = {key: str(Path(path).absolute()) if path else None for key, path in paths.items()}
        self.journal.set_facts(
            run=self.workdir.run,
            workdir=str(self.workdir.workdir),
            resolved=os.path.realpath(self.workdir.workdir),
            id=self.workdir.id,
            owner=self.workdir.owner.__dict__,
            pid=os.getpid(),
            state="running",
            started=self.workdir.started,
            settings={
                "hosts": settings.hosts,
                "transport": settings.transport,
                "scratch": settings.scratch,
                "staging": settings.staging,
                **absolute,
            },
            lost_after=settings.lost_after,
            fence_wait=settings.fence_wait,
            options=snakemake_settings.typed_options(workflow),
            log_dir=str(settings.log_dir),
            total=dag.count_for_nodes(workflow),
        )
        self.journal.describe_run()

    def remove_unneeded(self, complete: bool) -> None:
        """Remove what no later run needs. `complete`: no job is left, so only the journal has to stay."""
        self.sources.remove(everything=complete)
        if not complete:
            return
        try:
            self.workdir.write_pointer(self.journal.path, complete=True)
            self.notes.clear()
            start_files.remove_all()
            self.workdir.fences.remove_exit_notices()
        except OSError as error:
            self._warn(
                f"{self.workdir.directory} cannot be written ({error.strerror}), but the run is complete all the same"
            )

    def release(self) -> None:
        """Give the lock back."""
        self.workdir.release()
