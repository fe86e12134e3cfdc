"""Installs llama.cpp as the npm package node-llama-cpp ships it, into .peers/ (ignored by git)."""
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers"
PACKAGES = ["node-llama-cpp@3.22.1", "@node-llama-cpp/linux-x64@3.22.1"]


def install_peer(cpu=""):
    """The folder to run node in. cpu: leave it only that build of its CPU back end (haswell, icelake ...)."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing: apt-get install nodejs npm")
    folder = PEERS / (f"llama-{cpu}" if cpu else "llama")
    if not (folder / "node_modules" / "node-llama-cpp").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"name": "peer", "private": true}\n')
        print(f"installing {PACKAGES[0]} into {folder.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES],
                       cwd=folder, check=True, stdout=subprocess.DEVNULL)
    if cpu:
        bins = folder / "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"
        for library in bins.glob("libggml-cpu-*.so"):
            if library.name != f"libggml-cpu-{cpu}.so":
                library.unlink()
    return folder
