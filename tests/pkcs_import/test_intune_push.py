"""Pushing to Intune: what is compared, uploaded and withdrawn, and what interruptions and refusals leave behind."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlmodel import Session

from ca.authorisation import PersonId
from foundation.errors import Unavailable
from intune.errors import IntuneUnavailable
from intune.imported_pfx import ConnectorKey, PaddingScheme
from intune.transport import Transport
from people import persons
from pkcs_import import intune_push
from pkcs_import.delivery_ends import stop_all
from pkcs_import.errors import ArchiveUnavailable, DeliveryRefused
from pkcs_import.intune_plan import concerned
from pkcs_import.purpose import Purpose
from signetry.database import Database
from tests.clocks import ManualClock
from tests.daemons.directories.tls import ServerTls
from tests.intune.files import PASSPHRASE, imported
from tests.intune.pfx_service import PfxService, thumbprint
from tests.intune.server import Cloud, Reply, cloud_tls, running_cloud
from tests.intune.tenants import PassingTicker
from tests.pkcs_import.pushing import ACTOR, Pushing
from tests.pkcs_import.recovering import add_person

ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return cloud_tls(tmp_path_factory.mktemp("cloud-tls"))


@pytest.fixture
def cloud(tls: ServerTls) -> Iterator[Cloud]:
    with running_cloud(tls) as running:
        yield running
    assert running.violations == []


@pytest.fixture
def ticker() -> PassingTicker:
    return PassingTicker()


@pytest.fixture
def transport(tls: ServerTls, ticker: PassingTicker) -> Iterator[Transport]:
    with Transport(ca_file=tls.ca, ticker=ticker) as opened:
        yield opened


@pytest.fixture
def pushing(store: Database, clock: ManualClock, cloud: Cloud, transport: Transport, rsa_key: rsa.RSAPrivateKey) -> Pushing:
    service = PfxService(cloud, rsa_key)
    service.add_user(ALICE)
    service.add_user(BOB)
    return Pushing(store, clock, service, transport, ConnectorKey(rsa_key.public_key()))


@pytest.fixture
def alice(pushing: Pushing) -> PersonId:
    return add_person(pushing.store, "alice", pushing.clock.now())


@pytest.fixture
def bob(pushing: Pushing) -> PersonId:
    return add_person(pushing.store, "bob", pushing.clock.now())


def leave(pushing: Pushing, person: PersonId) -> None:
    now = pushing.clock.now()

    def act(session: Session) -> None:
        persons.deactivate_person(session, person, actor=ACTOR, now=now)
        stop_all(session, person, actor=ACTOR, now=now)

    pushing.store.write(act)


def rename(pushing: Pushing, person: PersonId, upn: str) -> None:
    now = pushing.clock.now()

    def act(session: Session) -> None:
        fields = persons.get_person(session, person).fields
        persons.change_person(session, person, replace(fields, upn=upn), actor=ACTOR, now=now)

    pushing.store.write(act)


def test_every_encryption_key_arrives_and_the_connector_opens_it(pushing: Pushing, alice: PersonId) -> None:
    wanted = pushing.archive(alice, "now", "before", "long ago")
    pushing.archive(alice, "for signing", purpose=Purpose.SIGNING)
    pushing.archive(alice, "for both", purpose=Purpose.BOTH)
    outcomes = pushing.run(alice)
    assert [(str(each.step.change), each.succeeded) for each in outcomes] == [("create", True)] * 4
    files = pushing.service.of(ALICE)
    assert {*wanted} < set(files)
    assert len(files) == 4
    for digest, document in files.items():
        opened = pushing.service.opened(document)
        assert opened.cert is not None
        assert thumbprint(opened.cert.certificate) == digest
        assert document["intendedPurpose"] == "smimeEncryption"
    assert {(order.person, order.device, str(order.encoding)) for order in pushing.orders} == {(alice, None, "3des")}
    assert pushing.rows() == dict.fromkeys(files, (ALICE, True))
    assert pushing.deliveries() == ["handed"] * 4
    assert sorted(key for told in pushing.handed for key in told.key_ids) == sorted(o.key_ids[0] for o in pushing.orders)
    events = pushing.events("key.pushed")
    assert {str(details["thumbprint"]) for _, details in events} == set(files)
    assert PASSPHRASE not in str(events)


def test_what_is_as_it_should_be_is_left_alone(pushing: Pushing, alice: PersonId) -> None:
    pushing.archive(alice, "now", "before")
    pushing.run(alice)
    (plan,) = pushing.plans(alice)
    assert (plan.steps, plan.unchanged) == ((), 2)
    assert pushing.run(alice) == []
    assert len(pushing.orders) == 2


def test_a_new_key_is_all_that_is_packed(pushing: Pushing, alice: PersonId) -> None:
    pushing.archive(alice, "before")
    pushing.run(alice)
    (new,) = pushing.archive(alice, "now")
    assert pushing.plan(alice) == [("create", new, "not in Intune")]
    pushing.run(alice)
    assert len(pushing.orders[1].key_ids) == 1
    assert len(pushing.service.of(ALICE)) == 2


def test_whoever_leaves_has_nothing_there_any_more(pushing: Pushing, alice: PersonId, bob: PersonId) -> None:
    (hers,) = pushing.archive(alice, "now")
    (his,) = pushing.archive(bob, "bob's")
    pushing.run(alice, bob)
    leave(pushing, alice)
    assert pushing.plan(alice, bob) == [("delete", hers, "the person is not active")]
    pushing.run(alice, bob)
    assert set(pushing.service.of(ALICE)) == set()
    assert set(pushing.service.of(BOB)) == {his}
    assert set(pushing.rows()) == {his}
    assert [details["thumbprint"] for _, details in pushing.events("key.withdrawn")] == [hers]
    assert pushing.plan(alice, bob) == []


def test_what_is_gone_already_need_not_be_deleted(pushing: Pushing, alice: PersonId) -> None:
    pushing.archive(alice, "now")
    pushing.run(alice)
    pushing.service.files.clear()
    leave(pushing, alice)
    (outcome,) = pushing.run(alice)
    assert outcome.succeeded
    assert pushing.rows() == {}


def test_who_is_not_active_is_given_nothing(pushing: Pushing, alice: PersonId) -> None:
    pushing.archive(alice, "now")
    leave(pushing, alice)
    assert pushing.run(alice) == []
    assert pushing.orders == []


def test_what_somebody_deleted_in_intune_comes_back(pushing: Pushing, alice: PersonId) -> None:
    (digest,) = pushing.archive(alice, "now")
    pushing.run(alice)
    pushing.service.files.clear()
    assert pushing.plan(alice) == [("create", digest, "no longer in Intune")]
    pushing.run(alice)
    assert set(pushing.service.of(ALICE)) == {digest}


def test_another_connector_gets_everything_anew(pushing: Pushing, alice: PersonId, other_rsa_key: rsa.RSAPrivateKey) -> None:
    (digest,) = pushing.archive(alice, "now")
    pushing.run(alice)
    pushing.service.connector = other_rsa_key
    pushing.key = ConnectorKey(other_rsa_key.public_key())
    assert pushing.plan(alice) == [("update", digest, "the connector's key is another")]
    pushing.run(alice)
    assert pushing.service.opened(pushing.service.of(ALICE)[digest]).key is not None
    assert pushing.plan(alice) == []


def test_another_padding_scheme_is_a_difference(pushing: Pushing, alice: PersonId, rsa_key: rsa.RSAPrivateKey) -> None:
    (digest,) = pushing.archive(alice, "now")
    pushing.run(alice)
    pushing.key = ConnectorKey(rsa_key.public_key(), PaddingScheme.OAEP_SHA256)
    assert pushing.plan(alice) == [("update", digest, "paddingScheme differs")]
    pushing.run(alice)
    assert pushing.service.of(ALICE)[digest]["paddingScheme"] == "oaepSha256"


def test_what_another_uploaded_over_our_certificate_is_replaced_and_the_rest_left(pushing: Pushing, alice: PersonId) -> None:
    (digest,) = pushing.archive(alice, "now")
    push = pushing.push
    for name in ("now", "of another authority"):
        push._certificates.create(imported(name, ALICE, pushing.key), pushing.clock.now())  # noqa: SLF001 - as another would
    assert pushing.plan(alice) == [("update", digest, "uploaded by somebody else")]
    pushing.run(alice)
    leave(pushing, alice)
    assert [change for change, *_ in pushing.plan(alice)] == ["delete"]
    pushing.run(alice)
    assert len(pushing.service.of(ALICE)) == 1


@pytest.mark.parametrize("is_same_user", [True, False])
def test_a_new_upn_moves_the_files(pushing: Pushing, alice: PersonId, *, is_same_user: bool) -> None:
    (digest,) = pushing.archive(alice, "now")
    pushing.run(alice)
    number = pushing.service.users.pop(ALICE) if is_same_user else "f" * 32
    pushing.service.users["alice@example.org"] = number
    rename(pushing, alice, "alice@example.org")
    assert pushing.plan(alice) == [
        ("delete", digest, "it is alice@example.com's"),
        ("create", digest, "the UPN has changed"),
    ]
    pushing.run(alice)
    assert set(pushing.service.files) == {f"{number}-{digest}"}
    assert set(pushing.service.of("alice@example.org")) == {digest}
    assert pushing.plan(alice) == []


def test_what_cannot_be_withdrawn_is_not_added_elsewhere(pushing: Pushing, cloud: Cloud, alice: PersonId) -> None:
    pushing.archive(alice, "now")
    pushing.run(alice)
    rename(pushing, alice, "alice@example.org")
    cloud.answer("pfx-delete", Reply(423, b"{}"))
    (outcome,) = pushing.run(alice)
    assert "HTTP 423" in outcome.error
    assert len(pushing.orders) == 1


def test_an_upload_that_was_interrupted_is_made_again(pushing: Pushing, cloud: Cloud, alice: PersonId) -> None:
    first, second, third = sorted(pushing.archive(alice, "now", "before", "long ago"))
    push = pushing.push
    (plan,) = push.plans([alice])
    steps = {step.thumbprint: step for step in plan.steps}
    plan = replace(plan, steps=(steps[first], steps[second], steps[third]))
    running = push.carry_out(plan)
    assert next(running).succeeded
    # The second one arrives, and nobody hears of it.
    cloud.answer("pfx-create", *[Reply(500, after_effect=True)], *[Reply(500)] * 3)
    with pytest.raises(IntuneUnavailable):
        next(running)
    assert pushing.rows() == {first: (ALICE, True), second: (ALICE, False)}
    assert pushing.deliveries() == ["handed", "ready"]
    assert sorted(pushing.plan(alice)) == [
        ("create", third, "not in Intune"),
        ("update", second, "the upload was interrupted"),
    ]
    assert all(outcome.succeeded for outcome in pushing.run(alice))
    assert len(pushing.service.acts) == 4
    assert pushing.plan(alice) == []


@pytest.mark.parametrize("singly", [50, 0])
def test_what_arrived_unheard_under_another_upn_is_found(
    pushing: Pushing, cloud: Cloud, alice: PersonId, monkeypatch: pytest.MonkeyPatch, singly: int
) -> None:
    monkeypatch.setattr(intune_push, "_ASKED_SINGLY", singly)
    (digest,) = pushing.archive(alice, "now")
    cloud.answer("pfx-create", Reply(403, after_effect=True))
    with pytest.raises(IntuneUnavailable):
        pushing.run(alice)
    pushing.service.add_user("alice@example.org")
    rename(pushing, alice, "alice@example.org")
    assert [change for change, *_ in pushing.plan(alice)] == ["delete", "create"]
    pushing.run(alice)
    assert pushing.service.of(ALICE) == {}
    assert set(pushing.service.of("alice@example.org")) == {digest}


def test_two_runs_at_once_upload_nothing_twice(pushing: Pushing, alice: PersonId) -> None:
    pushing.archive(alice, "now")
    other = pushing.push
    (plan,) = other.plans([alice])
    outcomes = pushing.run(alice) + list(other.carry_out(plan))
    assert all(outcome.succeeded for outcome in outcomes)
    assert [act for act, _ in pushing.service.acts] == ["pfx-create", "pfx-update"]
    assert pushing.plan(alice) == []


def test_an_answer_that_was_lost_is_made_up_for_at_once(pushing: Pushing, cloud: Cloud, alice: PersonId) -> None:
    (digest,) = pushing.archive(alice, "now")
    cloud.answer("pfx-create", Reply(502, after_effect=True))
    (outcome,) = pushing.run(alice)
    assert outcome.succeeded
    assert pushing.service.acts == [("pfx-create", digest), ("pfx-update", digest)]


def test_pauses_that_microsoft_asks_for_are_kept(pushing: Pushing, cloud: Cloud, ticker: PassingTicker, alice: PersonId) -> None:
    pushing.archive(alice, "now")
    cloud.answer("pfx-create", Reply(429, headers={"retry-after": "90"}), Reply(429, headers={"retry-after": "30"}))
    (outcome,) = pushing.run(alice)
    assert outcome.succeeded
    assert sum(ticker.waits) == pytest.approx(120)


def test_whom_intune_does_not_know_stops_nobody_else(pushing: Pushing, alice: PersonId, bob: PersonId) -> None:
    pushing.archive(alice, "now", "before")
    (his,) = pushing.archive(bob, "bob's")
    del pushing.service.users[ALICE]
    outcomes = pushing.run(alice, bob)
    assert [each.succeeded for each in outcomes] == [False, False, True]
    assert "HTTP 400 (BadRequest)" in outcomes[0].error
    assert set(pushing.service.of(BOB)) == {his}
    assert pushing.deliveries() == ["ready", "ready", "handed"]
    assert [told.person for told in pushing.handed] == [bob]


def test_whom_the_archive_refuses_stops_nobody_else(pushing: Pushing, alice: PersonId) -> None:
    pushing.archive(alice, "now")
    pushing.refusal = DeliveryRefused("keys are not delivered by intune here")
    (outcome,) = pushing.run(alice)
    assert outcome.error == "keys are not delivered by intune here"
    assert pushing.service.files == {}


def test_who_leaves_while_a_key_is_uploaded_loses_it_in_the_next_run(pushing: Pushing, alice: PersonId) -> None:
    (digest,) = pushing.archive(alice, "now")
    pushing.meanwhile = lambda: leave(pushing, alice)
    (outcome,) = pushing.run(alice)
    assert "over" in outcome.error
    assert pushing.handed == []
    assert pushing.rows() == {digest: (ALICE, False)}
    assert [change for change, *_ in pushing.plan(alice)] == ["delete"]
    pushing.run(alice)
    assert pushing.service.files == {}


def test_an_archive_that_does_not_answer_ends_the_run(pushing: Pushing, alice: PersonId) -> None:
    pushing.archive(alice, "now")
    pushing.refusal = ArchiveUnavailable("the archive process does not answer")
    with pytest.raises(Unavailable):
        pushing.run(alice)


@pytest.mark.parametrize("singly", [50, 1])
def test_many_persons_are_compared_by_one_list(
    pushing: Pushing, alice: PersonId, bob: PersonId, monkeypatch: pytest.MonkeyPatch, singly: int
) -> None:
    monkeypatch.setattr(intune_push, "_ASKED_SINGLY", singly)
    monkeypatch.setattr(intune_push, "_PERSONS_AT_ONCE", 1)
    pushing.service.page_size = 2
    pushing.archive(alice, "now", "before", "long ago")
    pushing.archive(bob, "bob's")
    assert len(pushing.run(alice, bob)) == 4
    assert pushing.plan(alice, bob) == []
    pushing.service.add_user("alice@example.org")
    rename(pushing, alice, "alice@example.org")
    assert [change for change, *_ in pushing.plan(alice, bob)] == ["delete", "create"] * 3
    assert len(pushing.run(alice, bob)) == 6
    assert [plan.unchanged for plan in pushing.plans(alice, bob)] == [3, 1]


def test_a_certificate_that_two_persons_share_is_a_file_of_each(pushing: Pushing, alice: PersonId, bob: PersonId) -> None:
    pushing.archive(alice, "of a shared mailbox")
    pushing.archive(bob, "of a shared mailbox")
    assert all(outcome.succeeded for outcome in pushing.run(alice, bob))
    leave(pushing, alice)
    pushing.run(alice, bob)
    assert (len(pushing.service.of(ALICE)), len(pushing.service.of(BOB))) == (0, 1)


def test_those_concerned_have_a_key_here_or_a_file_there(pushing: Pushing, alice: PersonId, bob: PersonId) -> None:
    pushing.archive(alice, "now")
    pushing.archive(bob, "for signing", purpose=Purpose.SIGNING)
    with pushing.store.reading() as session:
        assert concerned(session) == [alice]


def test_the_archive_is_looked_at_once_more(pushing: Pushing, alice: PersonId) -> None:
    pushing.archive(alice, "now")
    push = pushing.push
    (plan,) = push.plans([alice])
    (step,) = plan.steps
    assert step.subject is not None
    other = replace(step.subject, certificate=replace(step.subject.certificate, sha256="0" * 64))
    (outcome,) = push.carry_out(replace(plan, steps=(replace(step, subject=other),)))
    assert "push again" in outcome.error
    assert pushing.service.files == {}
