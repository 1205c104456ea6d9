#!/bin/sh
# make sbom: what is in an installation of the wheel in dist/, with licences, as CycloneDX (dist/sbom.cdx.json) and as a list.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv --without-pip "$place/venv"
"$root/.venv/bin/uv" pip install -q --python "$place/venv/bin/python" "$(ls "$root"/dist/*.whl)"
"$root/.venv/bin/cyclonedx-py" environment --output-reproducible --gather-license-texts --pyproject "$root/pyproject.toml" \
  --output-format JSON --output-file "$root/dist/sbom.cdx.json" "$place/venv/bin/python"
"$root/.venv/bin/python" - "$root/dist/sbom.cdx.json" "$root/dist/licences.txt" "$(ls "$root"/dist/*.whl)" <<'EOF'
import json, os, sys
bom = json.load(open(sys.argv[1]))
bom["metadata"]["component"]["version"] = os.path.basename(sys.argv[3]).split("-")[1]  # which pyproject.toml does not hold
with open(sys.argv[1], "w") as file:
    json.dump(bom, file, indent=2, sort_keys=True)
    file.write("\n")
def licence(one):
    found = [entry.get("expression") or entry["license"].get("id") or entry["license"].get("name") for entry in one.get("licenses", [])]
    return ", ".join(dict.fromkeys(name for name in found if not name.startswith("declared license of"))) or "not told"
parts = bom["components"]
lines = sorted(f"{one['name']} {one['version']}: {licence(one)}" for one in parts)
open(sys.argv[2], "w").write("\n".join(lines) + "\n")
print("\n".join(lines))
EOF
