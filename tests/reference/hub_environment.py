"""Where huggingface_hub keeps its cache and finds its token, for sets of environment variables: hub_environment.json.

    python tests/reference/hub_environment.py > tests/reference/hub_environment.json

Needs huggingface_hub. Each set is asked of a new interpreter, since the constants are computed at import.
"""
import json
import subprocess
import sys

ASK = """
import json
from huggingface_hub import constants
print(json.dumps({"cache": constants.HF_HUB_CACHE, "token_path": constants.HF_TOKEN_PATH,
                  "endpoint": constants.ENDPOINT, "offline": constants.HF_HUB_OFFLINE}))
"""
SETS = [
    {},
    {"XDG_CACHE_HOME": "/x"},
    {"XDG_CACHE_HOME": "/x", "HF_HOME": "/f"},
    {"HF_HOME": "~/f"},
    {"HF_HOME": "~other/f"},
    {"HF_HOME": "/f", "HUGGINGFACE_HUB_CACHE": "/old"},
    {"HF_HOME": "/f", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "/new"},
    {"HF_HUB_CACHE": "$SCRATCH/hub", "SCRATCH": "/s"},
    {"HF_HUB_CACHE": "${SCRATCH}/a~b", "SCRATCH": "/s"},
    {"HF_HUB_CACHE": "$SCRATCH/hub", "SCRATCH": "~/s"},
    {"HF_HUB_CACHE": "$NONE/hub"},
    {"HF_TOKEN_PATH": "$SCRATCH/token", "SCRATCH": "/s"},
    {"HF_ENDPOINT": "https://mirror.example/hf/"},
    {"HF_HUB_OFFLINE": "1"},
    {"HF_HUB_OFFLINE": "true"},
    {"HF_HUB_OFFLINE": "Yes"},
    {"HF_HUB_OFFLINE": "on"},
    {"HF_HUB_OFFLINE": "2"},
    {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "1"},
    {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"},
]


def main():
    rows = []
    for variables in SETS:
        environment = {"HOME": "/h", **variables}
        said = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
        rows.append({"set": environment, "wanted": json.loads(said.stdout)})
    print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")


if __name__ == "__main__":
    main()
