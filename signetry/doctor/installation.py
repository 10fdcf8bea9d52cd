"""The installation itself: its packages, its database."""

from collections.abc import Iterator
from importlib.metadata import packages_distributions

from signetry.doctor.findings import Finding
from signetry.house import House

# The folders that this distribution ships as top-level packages: another one that ships the same would overwrite them.
PACKAGES = ("foundation", "audit", "ca", "people", "intune", "scep", "crl", "ldap_publish", "notices", "pkcs_import", "signetry")


def packages(house: House) -> Iterator[Finding]:  # noqa: ARG001 - the shape of a check
    """Look for other distributions that ship packages of the same names."""
    providers = packages_distributions()
    others = {
        package: sorted({name for name in providers.get(package, []) if name.lower() != "signetry"}) for package in PACKAGES
    }
    for package, names in others.items():
        if names:
            yield Finding(
                "packages",
                "error",
                f"the package {package} is also installed by {', '.join(names)}",
                "install signetry into a virtual environment of its own",
            )
    if not any(others.values()):
        yield Finding("packages", "ok", f"no other distribution has a package called {', '.join(PACKAGES)}")


def database(house: House) -> Iterator[Finding]:
    """Look whether the database holds the schema of this release."""
    house.database.check_schema()
    yield Finding("database", "ok", f"{house.settings.database.get_backend_name()}, schema up to date")
