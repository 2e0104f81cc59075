"""What is installed, judged: python infra/audit.py [--strict]. Part of `make check`; --strict also fails on advisories.

Every pin of constraints.txt is what is installed, packages fit each other, and licences allow use in a product. Known
vulnerabilities are asked of OSV (osv.dev) in one request; where it cannot be reached, one line says that nobody looked.
"""

import argparse
import re
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import httpx

from compodiff.doctor.packages import find_faults, read_pins

PROJECT = Path(__file__).parents[1]
OSV = "https://api.osv.dev/v1/querybatch"
_SECONDS = 5.0

# Strong copyleft would reach into a product that links it. Weak copyleft (LGPL, MPL) and fonts do not.
_COPYLEFT = re.compile(r"\bA?GPL|GNU (?:Affero )?General Public", re.IGNORECASE)
_ALLOWED = {
    "docutils": "parts are GPL; public domain and BSD otherwise, and nothing here loads those parts",
    "grandalf": "GPLv2 or EPLv1, as one chooses; draws `dvc dag`",
    "psycopg2-binary": "LGPL with exceptions",
}


def faults(pinned: dict[str, str]) -> list[str]:
    """Return what is wrong with the environment itself; needs no network."""
    found = [f"{fault}; run: make" for fault in find_faults(PROJECT)]
    for name in pinned:
        try:
            licence = "" if name in _ALLOWED else _copyleft(distribution(name))
        except PackageNotFoundError:
            continue
        if licence:
            found.append(f"{name} is under {licence}; replace it, or say in infra/audit.py why it may stay")
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    if checked.returncode:
        found += checked.stdout.splitlines()
    return found


def advisories(pinned: dict[str, str]) -> list[str]:
    """Return known vulnerabilities of the pinned versions.

    Raises:
        httpx.HTTPError: OSV cannot be reached.
    """
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": pin} for name, pin in pinned.items()]
    reply = httpx.post(OSV, json={"queries": queries}, timeout=_SECONDS).raise_for_status()
    answers = zip(pinned.items(), reply.json()["results"], strict=True)
    return [f"{name}=={pin}: {each['id']}" for (name, pin), answer in answers for each in answer.get("vulns", [])]


def _copyleft(installed: Distribution) -> str:
    """The licence of a package where it is strong copyleft and no other is offered, else nothing."""
    metadata = installed.metadata.json
    stated = [str(each) for each in metadata.get("classifier", []) if str(each).startswith("License ::")]
    stated += [str(metadata["license_expression"])] if "license_expression" in metadata else []
    strong = [each for each in stated if _COPYLEFT.search(re.sub(r"LGPL|Lesser General Public", "", each))]
    return strong[0] if strong and len(strong) == len(stated) and " OR " not in strong[0] else ""


def main() -> int:
    """Print what was found; return 1 where it must be mended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail also on known vulnerabilities, or if nobody looked")
    strict = parser.parse_args().strict
    pinned = read_pins(PROJECT)
    found = faults(pinned)
    try:
        known = advisories(pinned)
        said = [*known, f"{len(pinned)} pinned packages, {len(known)} known vulnerabilities"]
    except httpx.HTTPError as error:
        known = [f"{type(error).__name__}"]
        said = [f"{len(pinned)} pinned packages; vulnerabilities not looked for: osv.dev cannot be reached"]
    sys.stdout.write("".join(f"audit: {line}\n" for line in (*found, *said)))
    return 1 if found or (strict and known) else 0


if __name__ == "__main__":
    sys.exit(main())
