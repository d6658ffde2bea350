"""What runs on a node, streamed there as one text by `bootstrap`: Python >= 3.6, stdlib only, imports nothing of ours.

On the node these files are the modules harbor_processes, harbor_spool and harbor_meter, and the main program agent.py.
Small on purpose: starting costs memory and time on every node. So no subprocess, shutil, tempfile, socket.
"""
