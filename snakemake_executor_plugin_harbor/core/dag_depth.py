"""The depth of a job in the DAG. It is the length of the longest chain of dependencies of the job.

Deep jobs start first. In breadth-first order, all `temp()` files of a workflow would exist at once (measured: 40 files
instead of 2, for 40 chains on 2 slots).
"""

from collections.abc import Callable, Hashable, Iterable


class DagDepths:
    """The depths of jobs, each computed once. Checkpoints may add jobs to the DAG, but the dependencies of a job stay
    the same.
    """

    def __init__(self, dependencies: Callable[[Hashable], Iterable[Hashable]]) -> None:
        self._dependencies = dependencies
        self._known: dict[Hashable, int] = {}

    def depth_of_job(self, job: Hashable) -> int:
        """Return the depth of a single job, which is 0 without dependencies. The method is iterative, because chains
        may be longer than Python's stack.
        """
        known = self._known
        stack = [job]
        while stack:
            top = stack[-1]
            if top in known:
                stack.pop()
                continue
            below = list(self._dependencies(top))
            unknown = [d for d in below if d not in known]
            if unknown:
                stack.extend(unknown)
            else:
                known[top] = 1 + max((known[d] for d in below), default=-1)
                stack.pop()
        return known[job]

    def depth_of(self, job: object) -> int:
        """Return the depth of a job or, for a group, of its deepest member."""
        members = getattr(job, "jobs", None)
        if members is None:
            return self.depth_of_job(job)
        listed = members() if callable(members) else members
        return max((self.depth_of_job(member) for member in listed), default=0)
