"""The commands of README.md, run as they stand there."""

import re
from pathlib import Path

from tests.daemons.service import serving

README = Path(__file__).parents[2] / "README.md"


def test_the_first_round_of_the_readme_ends_with_a_revoked_certificate(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert "make serve" in README.read_text()
    with serving(tmp_path / "home") as service:
        # Two lines are about this machine: the virtual environment is active already, and the port is another.
        commands = script.replace(". .venv/bin/activate\n", "").replace("http://127.0.0.1:8080", service.url)
        assert commands.count(service.url) == 1
        *first, last = commands.strip().splitlines()
        (tmp_path / "work").mkdir()
        service.run("bash", "-euo", "pipefail", "-c", "\n".join(first), cwd=tmp_path / "work")
        done = service.run("bash", "-c", last, cwd=tmp_path / "work", succeeds=False)
    assert "certificate revoked" in done.stdout + done.stderr
