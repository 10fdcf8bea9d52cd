"""``signetry demo`` and ``signetry doctor`` against a service that runs."""

from tests.daemons.service import Service


def test_the_demonstration_makes_its_round(service: Service) -> None:
    steps = service.json("demo")
    assert [step["step"] for step in steps] == [
        "added a person",
        "minted a one-time challenge",
        "enrolled over SCEP",
        "looked it up",
        "revoked it",
        "saw it on the CRL",
    ]
    # A revocation is seen within two seconds, of which the worker takes the least part.
    assert steps[-1]["milliseconds"] < 5000
    assert f"{service.url}/crl/issuing.crl" in steps[-1]["outcome"]
    serial = steps[2]["outcome"].split()[1].rstrip(",")
    shown = service.json("cert", "show", serial)
    assert shown["status"] == "revoked"
    (person,) = service.json("person", "list", "--text", "demonstration")
    assert not person["active"]


def test_the_doctor_finds_nothing_broken_and_says_what_to_change(service: Service) -> None:
    findings = service.json("doctor")
    assert [finding for finding in findings if finding["severity"] == "error"] == []
    by_check: dict[str, set[str]] = {}
    for finding in findings:
        by_check.setdefault(finding["check"], set()).add(finding["severity"])
    assert by_check["service"] == {"ok"}
    assert by_check["packages"] == {"ok"}
    assert by_check["CRL of issuing"] == by_check["CRL of root"] == {"ok"}
    # What these tests configured.
    warned = {check for check, severities in by_check.items() if "warning" in severities}
    assert warned == {"public_url", "endpoint museum", "endpoint renewing"}
