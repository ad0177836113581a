"""The gate: what a caller shows, and the principal it shows them to be."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from salience_service.access.client_certificate import client_certificate
from salience_service.access.gate import LONGEST_TOKEN, GuardedGate, OpenGate, Shown
from salience_service.access.principal import ANONYMOUS, LONGEST_NAME, Call, Permissions
from salience_service.access.tokens import new_token
from salience_service.config.access import AccessConfig
from salience_service.errors import ConfigRefused, Unauthenticated
from tests.support.identity import AUDIENCE, ISSUER, Authority, Issuer, token_file

PRINCIPALS = [
    {"name": "radiology", "models": ["lung-*"], "calls": ["describe", "explain"]},
    {"name": "gateway", "certificates": ["DNS:gateway.hospital.example", "CN:gateway"]},
    {"name": "doctor", "jwt_subjects": ["dr-no"], "methods": ["rise"]},
    {"name": "root", "calls": ["admin"], "certificates": ["URI:spiffe://hospital/root"]},
]


class Place:
    """A gate with its files."""

    def __init__(self, directory: Path) -> None:
        self.tokens_file, self.keys_file = directory / "tokens", directory / "keys"
        self.tokens = token_file(self.tokens_file, "radiology", "root")
        self.issuer = Issuer()
        self.keys_file.write_bytes(self.issuer.pem())
        self.authority = Authority(directory / "ca")
        self.now = datetime.now(UTC)
        config = AccessConfig.model_validate(
            {
                "tokens_file": str(self.tokens_file),
                "principals": PRINCIPALS,
                "jwt": {"issuer": ISSUER, "audience": AUDIENCE, "keys_file": str(self.keys_file)},
            }
        )
        self.gate = GuardedGate(config, lambda: self.now)

    def certificate(self, *names: str, common_name: str | None = None) -> Shown:
        path, _ = self.authority.issue(*names, name="client", common_name=common_name)
        return Shown(certificate=path.read_bytes())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _bearing(token: str) -> Shown:
    return Shown((f"Bearer {token}",))


def test_without_identity_everyone_is_anonymous_and_may_all_but_administer() -> None:
    caller = OpenGate().caller(Shown())
    assert caller is ANONYMOUS
    assert caller.may.calls == set(Call) - {Call.ADMIN}


def test_a_static_token_shows_its_principal_with_its_permissions(place: Place) -> None:
    caller = place.gate.caller(_bearing(place.tokens["radiology"]))
    assert caller.name == "radiology"
    assert caller.may.calls == {Call.DESCRIBE, Call.EXPLAIN}
    assert caller.may.sees("lung-1")
    assert not caller.may.sees("retina")
    assert place.gate.caller(_bearing(place.tokens["root"])).may.calls == {Call.ADMIN}


def test_a_signed_token_shows_the_principal_of_its_subject(place: Place) -> None:
    caller = place.gate.caller(_bearing(place.issuer.token("dr-no")))
    assert (caller.name, caller.may.methods) == ("doctor", ("rise",))
    with pytest.raises(Unauthenticated):
        place.gate.caller(_bearing(place.issuer.token("dr-yes")))


def test_a_certificate_shows_its_principal_by_common_or_alternative_name(place: Place) -> None:
    for shown, name in (
        (place.certificate("gateway.hospital.example"), "gateway"),
        (place.certificate("x.example", common_name="gateway"), "gateway"),
    ):
        assert place.gate.caller(shown).name == name


def test_a_certificate_with_a_name_of_an_unknown_kind_is_nobodys() -> None:
    """An ediPartyName, RFC 5280, beside a name that would be known."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    odd = x509.UnrecognizedExtension(
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3009a507a1050c03656469")
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(odd, critical=False)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(x509.UnsupportedGeneralNameType):
        _ = made.extensions
    assert client_certificate(made.public_bytes(Encoding.PEM)) is None


def test_names_of_a_certificate_are_compared_whole_and_with_their_kind(place: Place) -> None:
    for shown in (
        place.certificate("gateway"),  # a DNS name, where the principal has it as its CN
        place.certificate("x.example", common_name="gateway.hospital.example"),
        place.certificate("a.gateway.hospital.example"),
        Shown(certificate=b"no certificate"),
    ):
        with pytest.raises(Unauthenticated):
            place.gate.caller(shown)


def test_a_certificate_that_has_ended_on_an_open_connection_shows_nobody(place: Place) -> None:
    shown = place.certificate("gateway.hospital.example")
    assert place.gate.caller(shown).name == "gateway"
    place.now += timedelta(days=2)
    with pytest.raises(Unauthenticated, match="ended"):
        place.gate.caller(shown)


def test_a_token_that_is_bad_is_not_made_good_by_a_certificate(place: Place) -> None:
    good = place.certificate("gateway.hospital.example")
    with pytest.raises(Unauthenticated):
        place.gate.caller(Shown(("Bearer nonsense",), good.certificate))


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("Bearer",),
        ("Bearer ",),
        ("Basic dXNlcjpwYXNz",),
        ("Bearer a", "Bearer b"),
        ("Bearer " + "a" * (LONGEST_TOKEN + 1),),
        ("Bearer a.b.c",),
        ("Bearer salience_" + "A" * 43,),
    ],
)
def test_anything_else_shows_nobody(place: Place, values: tuple[str, ...]) -> None:
    with pytest.raises(Unauthenticated):
        place.gate.caller(Shown(values))


def test_an_unknown_and_an_ended_token_are_refused_in_the_same_words(place: Place) -> None:
    ended = place.issuer.token("dr-no", exp=place.now - timedelta(hours=1))
    texts = set()
    for token in ("salience_nonsense", ended, Issuer().token("dr-no")):
        with pytest.raises(Unauthenticated) as told:
            place.gate.caller(_bearing(token))
        texts.add(str(told.value))
    assert len(texts) == 1


def test_a_token_taken_out_of_the_file_shows_nobody_from_the_next_call_on(place: Place) -> None:
    token = place.tokens["radiology"]
    assert place.gate.caller(_bearing(token)).name == "radiology"
    place.tokens_file.write_text(new_token("radiology").line, "utf-8")
    with pytest.raises(Unauthenticated):
        place.gate.caller(_bearing(token))


def test_a_token_file_that_breaks_leaves_the_last_one_in_force(place: Place) -> None:
    place.tokens_file.write_text("nonsense", "utf-8")
    assert place.gate.caller(_bearing(place.tokens["radiology"])).name == "radiology"


def test_a_token_file_that_is_empty_while_it_is_written_turns_nobody_away(place: Place) -> None:
    """As `cp` leaves it for a moment, or for good where the disk is full."""
    shown = _bearing(place.tokens["radiology"])
    place.tokens_file.write_text("", "utf-8")
    assert place.gate.caller(shown).name == "radiology"
    place.tokens_file.write_text("# nobody\n", "utf-8")
    with pytest.raises(Unauthenticated):
        place.gate.caller(shown)


def test_a_token_of_a_principal_to_come_keeps_no_other_from_being_withdrawn(place: Place) -> None:
    """As `salience token new ward --add-to tokens` writes it, before the restart that knows it."""
    withdrawn, coming = place.tokens["radiology"], new_token("ward")
    place.tokens_file.write_text(f"{new_token('radiology').line}\n{coming.line}\n", "utf-8")
    for token in (withdrawn, coming.secret):
        with pytest.raises(Unauthenticated):
            place.gate.caller(_bearing(token))


def test_keys_of_the_issuer_may_change_while_the_server_runs(place: Place) -> None:
    new = Issuer()
    place.keys_file.write_text(new.jwks(), "utf-8")
    assert place.gate.caller(_bearing(new.token("dr-no"))).name == "doctor"
    with pytest.raises(Unauthenticated):
        place.gate.caller(_bearing(place.issuer.token("dr-no")))


def test_a_token_file_that_cannot_be_used_at_the_start_is_refused(tmp_path: Path) -> None:
    config = AccessConfig.model_validate(
        {"tokens_file": str(tmp_path / "none"), "principals": PRINCIPALS[:1]}
    )
    with pytest.raises(ConfigRefused, match=r"access\.tokens_file: none cannot be read"):
        GuardedGate(config)


def test_a_name_longer_than_any_is_seen_by_no_pattern() -> None:
    """Looked for in 32 MiB, a pattern would hold up the event loop."""
    may = Permissions(("*-cxr",), ("*-cam",), frozenset())
    assert may.sees("a" * (LONGEST_NAME - 4) + "-cxr")
    assert not may.sees("a" * LONGEST_NAME + "-cxr")
    assert not may.has_method("a" * LONGEST_NAME + "-cam")


def test_a_token_of_no_principal_is_refused_at_the_start(tmp_path: Path) -> None:
    token_file(tmp_path / "tokens", "radiology", "ward")
    config = AccessConfig.model_validate(
        {"tokens_file": str(tmp_path / "tokens"), "principals": PRINCIPALS[:1]}
    )
    with pytest.raises(ConfigRefused, match=r"'ward' is none of access\.principals"):
        GuardedGate(config)
