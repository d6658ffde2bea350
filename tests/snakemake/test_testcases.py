"""Snakemake's own test cases for executor plugins, on this machine's localhost node."""

import snakemake.common.tests
import pytest

from snakemake_executor_plugin_harbor import ExecutorSettings


class Base(snakemake.common.tests.TestWorkflowsLocalStorageBase):
    __test__ = False
    dispatch = "auto"

    def get_executor(self):
        return "harbor"

    def get_executor_settings(self):
        return ExecutorSettings(hosts=["4/localhost"], dispatch=self.dispatch)


class TestAuto(Base):
    __test__ = True


class TestSnakemakeOnTheNode(Base):
    __test__ = True
    dispatch = "snakemake"
