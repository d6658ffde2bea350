"""The agent, the program of harbor that runs on a node. It needs Python >= 3.6 and only the standard library.

`remote/bootstrap.py` streams these files to the node as one text. There each file NAME.py is the module harbor_NAME,
and agent.py is the main program. They import nothing else of this package.

The agent is small on purpose, because its start costs time and memory on every node. So it does not import subprocess,
shutil, tempfile or socket.
"""
