"""`invoke lint --audit`: known vulnerabilities of the pinned versions, from pip-audit, if a database can be reached."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unroll.console import say
from unroll.errors import UserError


def audit(pins: Path) -> dict[str, Any]:
    """Print a line for each known vulnerability, or one that says why no database could be queried.

    Returns:
        {"audited": versions that were looked up, "vulnerable": of these, "exit_code": 1 if there are such}

    Raises:
        UserError: pip-audit is not installed, or there are no pins.
    """
    program = shutil.which("pip-audit")
    if program is None:
        raise UserError("--audit: pip-audit is not installed; run: pip install pip-audit")
    if not pins.exists():
        raise UserError(f"{pins}: there is no such file")
    options = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")
    done = subprocess.run([program, "-r", str(pins), *options], capture_output=True, text=True, check=False)
    try:
        asked = json.loads(done.stdout)["dependencies"]
        looked_up = [one for one in asked if "version" in one]
        reason = "" if looked_up else asked[0]["skip_reason"]
    except (ValueError, KeyError, TypeError, IndexError):
        looked_up, reason = [], _last(done.stderr)
    if not looked_up:
        say(f"not audited: pip-audit reached no database of vulnerabilities ({reason})")
        return {"audited": 0, "vulnerable": 0, "exit_code": 0}
    vulnerable = [one for one in looked_up if one["vulns"]]
    for line in _lines(vulnerable):
        say(line)
    say(f"audited: {len(looked_up)} versions, {len(vulnerable)} of them with known vulnerabilities")
    return {"audited": len(looked_up), "vulnerable": len(vulnerable), "exit_code": int(bool(vulnerable))}


def _lines(vulnerable: list[dict[str, Any]]) -> Iterator[str]:
    for one in vulnerable:
        for found in one["vulns"]:
            mended = " or ".join(found["fix_versions"])
            cure = f"update to {mended}" if mended else "no release mends it yet"
            yield f"{one['name']}=={one['version']}: {found['id']}; {cure}"


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
