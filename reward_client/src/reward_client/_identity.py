"""Which server one call talks to, by the fingerprint that replies name, and that it stays the same."""

from __future__ import annotations

from reward_client import errors
from reward_client._exchange import Failure
from reward_client._settings import CallOptions
from reward_client._wire import Envelope
from reward_client.values import Usage


class ServerIdentity:
    """Begins with what the caller demands, learns from the first reply, refuses what differs."""

    def __init__(self, options: CallOptions) -> None:
        self._demanded = options.fingerprint
        self._may_change = options.allow_fingerprint_change
        self._fingerprints: list[str] = []
        self._model = ""
        self._usage = Usage()

    @property
    def pinned(self) -> str | None:
        """The fingerprint that all further requests demand; None while it is unknown or of no concern."""
        if self._demanded is not None or self._may_change:
            return self._demanded
        return self._fingerprints[0] if self._fingerprints else None

    @property
    def must_be_learnt(self) -> bool:
        """Whether a fingerprint has to be pinned and is not known yet."""
        return self.pinned is None and not self._may_change

    @property
    def envelope(self) -> Envelope:
        """What the server has said so far of itself and of the cost."""
        return Envelope(self._model, self._fingerprints[0] if self._fingerprints else "", self._usage)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """All fingerprints that replies have named, in the order they came."""
        return tuple(self._fingerprints)

    def note(self, envelope: Envelope) -> None:
        """Notes what a reply says.

        Raises:
            FingerprintMismatch: if it is not the fingerprint that the caller demanded.
            FingerprintChanged: if it is not the one that the call began with.
        """
        seen, wanted = envelope.fingerprint, self.pinned
        if seen and wanted is not None and seen != wanted:
            raise self._refusal(f"the reply has the fingerprint {seen}; {wanted} was expected")
        if seen and seen not in self._fingerprints:
            self._fingerprints.append(seen)
        self._model = self._model or envelope.model
        self._usage += envelope.usage

    def passing(self, found: Failure | errors.RewardServerError) -> Failure:
        """Returns a failure that may pass; raises what will not. A 412 speaks of the pinned fingerprint."""
        if isinstance(found, Failure):
            return found
        if isinstance(found, errors.FingerprintMismatch):
            raise self._refusal(found.message, found.status, found.request_id)
        raise found

    def _refusal(
        self, message: str, status: int | None = None, request_id: str | None = None
    ) -> errors.RewardServerError:
        kind = errors.FingerprintChanged if self._demanded is None else errors.FingerprintMismatch
        return kind(message, status=status, request_id=request_id)
