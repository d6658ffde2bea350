"""A pre-processor in the way of Parallel-Task-Harbor: each case gets a copy of the template."""

import os

from src import Request
from src.pre_proc.preprocessor import AbstractPreProcessor


class PreProcessor(AbstractPreProcessor):
    def __init__(self, path_dict):
        super().__init__()
        self.base_path = path_dict["BASE_PATH"]
        self.tmp_path = path_dict["BASE_TMP"]

    def generateRequest(self, case, sim_dict):
        values = dict(sim_dict)
        values.update(BASE_PATH=self.base_path, BASE_TMP=self.tmp_path, REQ_NAME=case, TARGET_SCENARIO=case)
        values["TARGET_DIR"] = f"{self.base_path}/tmp_{case}"
        self.pushRequest(Request(values, {"BASE_TMP": f"{self.tmp_path}/*"}))

    def modifyPrior(self, request):
        target = request.getValue("TARGET_DIR")
        os.chdir(self.base_path)
        self._makeDir(target)
        for key in request.getCopyDict():
            os.system(f"cp -r {request.getCopyValue(key)} {target}")
