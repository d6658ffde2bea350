"""Snakemake's own test cases for executor plugins: on localhost, and on two nodes over sshd."""

import pytest
import snakemake.common.tests

from snakemake_executor_plugin_harbor import ExecutorSettings


class Base(snakemake.common.tests.TestWorkflowsLocalStorageBase):
    __test__ = False
    dispatch = "auto"

    def get_executor(self):
        return "harbor"

    def get_executor_settings(self):
        return ExecutorSettings(hosts=["4/localhost"], max_load=50, dispatch=self.dispatch)


class TestLocalhost(Base):
    __test__ = True


class OverSsh(Base):
    @pytest.fixture(autouse=True)
    def _nodes(self, pool):
        self.pool = pool

    def get_executor_settings(self):
        return ExecutorSettings(
            hosts=["4/node1", "4/node2"], ssh_config=self.pool.ssh_config, max_load=50, dispatch=self.dispatch
        )


class TestAutoOverSsh(OverSsh):
    __test__ = True


@pytest.mark.timeout(300)  # Six jobs start a Snakemake each.
class TestSnakemakeOverSsh(OverSsh):
    __test__ = True
    dispatch = "snakemake"
