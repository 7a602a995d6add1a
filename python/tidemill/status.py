"""Which jobs run, and how far they are."""

from __future__ import annotations

from typing import NamedTuple

from .jobs import Job, Jobs

__all__ = ["SparkJobInfo", "SparkStageInfo", "StatusTracker"]


class SparkJobInfo(NamedTuple):
    """A job: its stages, and whether it is RUNNING, SUCCEEDED or FAILED."""

    jobId: int
    stageIds: list[int]
    status: str


class SparkStageInfo(NamedTuple):
    """A stage: its tasks. Only the last stage of a job is known by number, and how many of its tasks are done only at its end."""

    stageId: int
    currentAttemptId: int
    name: str
    numTasks: int
    numActiveTasks: int
    numCompletedTasks: int
    numFailedTasks: int


class StatusTracker:
    """Says which jobs of a context run and which ran; the last thousand are remembered.

    >>> sc.setJobGroup("adding", "adds numbers")
    >>> sc.parallelize([1, 2]).sum()
    3
    >>> tracker = sc.statusTracker()
    >>> [tracker.getJobInfo(job).status for job in tracker.getJobIdsForGroup("adding")]
    ['SUCCEEDED']
    """

    def __init__(self, jobs: Jobs) -> None:
        """Made by `SparkContext.statusTracker`."""
        self._jobs = jobs

    def getJobIdsForGroup(self, jobGroup: str | None = None) -> list[int]:
        """The jobs of a group, or, without one, those that have none."""
        return [job.job_id for job in self._jobs.known() if job.group == jobGroup]

    def getActiveStageIds(self) -> list[int]:
        """The stages that run."""
        return [job.stage_id for job in self._jobs.active()]

    def getActiveJobsIds(self) -> list[int]:
        """The jobs that run."""
        return [job.job_id for job in self._jobs.active()]

    def getJobInfo(self, jobId: int) -> SparkJobInfo | None:
        """A job, or None if it is not known."""
        job = self._find(jobId)
        return None if job is None else SparkJobInfo(job.job_id, [job.stage_id], job.status)

    def getStageInfo(self, stageId: int) -> SparkStageInfo | None:
        """A stage, or None if it is not known."""
        job = self._find(stageId)
        if job is None:
            return None
        running, done = (job.tasks if job.status == status else 0 for status in ("RUNNING", "SUCCEEDED"))
        return SparkStageInfo(stageId, 0, job.operation.named(), job.tasks, running, done, int(job.status == "FAILED"))

    def _find(self, number: int) -> Job | None:
        return next((job for job in self._jobs.known() if job.job_id == number), None)
