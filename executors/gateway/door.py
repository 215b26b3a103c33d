"""The only way in, for HTTP and gRPC alike: the checks and limits that every request passes before its operation begins.

They come in this order: the caller's key, draining and readiness, memory for the body, a place among the requests in flight,
the deadline, the account of lost shards, the turn, the parameters, the documents, and the key's right to the collection.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from executors.documents import ImageDoc
from executors.errors import ERRORS, VisualSearchError
from executors.gateway.access import ANYONE, Identity, SignedAddress
from executors.gateway.disconnection import unless_gone
from executors.gateway.document_checks import Takes, admit_documents, check_request, refuse_documents
from executors.gateway.endpoints import BY_PATH, Endpoint
from executors.gateway.flow.chunks import Answer, size_of
from executors.gateway.intake import Held, Intake
from executors.gateway.metrics.requests import GONE
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import NoParameters, parse_parameters
from executors.gateway.rendering import outcome_of
from executors.gateway.shards.lost_shards import LostShards
from executors.gateway.watching.jobs import collection_of, is_job
from executors.keys.limits import LimitAccount, Limits
from executors.preprocess.header import read_header
from executors.scheduling.turns import Turn, current_turn, is_bulk

# If every document has an error with at least this status, the request failed as a whole.
_SERVICE_STATUS: Final = 500

Body: TypeAlias = tuple[list[ImageDoc], Any]
"""The documents and the parameters of a request, not checked yet."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, as far as the protocol knows it.

    Args:
        protocol: the protocol of the request.
        address: the caller's address, if it is known.
        keys: the keys that it sent.
        gone: waits until the caller has left; None if the protocol cancels the request by itself.
        signed: what the address of a thumbnail says about itself, in place of a key.
    """

    protocol: Literal["http", "grpc"]
    address: str | None = None
    keys: frozenset[str] = frozenset()
    gone: Callable[[], Awaitable[None]] | None = None
    signed: SignedAddress | None = None


class Door:
    """Lets requests in and answers them; each gateway process has one instance.

    Args:
        service: the objects that operations share, with the gate and the readiness.
        intake: the limits on bodies.
        max_documents: the most documents of a request.
        timeout_s: the deadline of a request, from its place among those in flight to its answer.
    """

    def __init__(self, service: SearchService, intake: Intake, *, max_documents: int, timeout_s: float) -> None:
        self._service = service
        self._intake = intake
        self._max_documents = max_documents
        self._timeout_s = timeout_s
        self._access = service.access
        self._limits = LimitAccount(note=service.metrics.note_limited)
        # With this name, stages can tell the requests of several gateways apart.
        self._name = uuid.uuid4().hex[:8]
        self._numbers = itertools.count()
        self._lost_shards = LostShards(service.index_client)

    async def answer(
        self, endpoint: Endpoint, caller: Caller, read: Callable[[Held], Awaitable[Body]], *, weight: int = 1
    ) -> Answer:
        """Let a request in, and answer it.

        Args:
            endpoint: the endpoint that the caller named.
            caller: the sender of the request.
            read: reads the body, and takes memory for it piece by piece.
            weight: bytes of memory that one byte of the body takes while it is read.

        Raises:
            VisualSearchError: the request failed as a whole.
            ClientDisconnect: the caller has left.
        """
        started = time.perf_counter()
        status, code = ERRORS["internal"].status, "internal"  # of a defect
        try:
            answer = await self._answer(endpoint, caller, read, weight)
            status, code = outcome_of(answer)
            return answer
        except VisualSearchError as error:
            status, code = error.status, error.code
            raise
        except (asyncio.CancelledError, ClientDisconnect):
            status, code = GONE, ""
            raise
        finally:
            seconds = time.perf_counter() - started
            self._service.metrics.note_request(caller.protocol, endpoint.path, status, code, seconds)

    async def _answer(
        self, endpoint: Endpoint, caller: Caller, read: Callable[[Held], Awaitable[Body]], weight: int
    ) -> Answer:
        identity = self.identify(endpoint, caller)
        if identity.name is not None:
            self._limits.take_request(identity.name, identity.limits)
        if endpoint.always:
            self._access.check_collections(identity, endpoint, None, ())
            return await endpoint.operation(self._service, Request([], NoParameters(), identity=identity))
        self.check_open()
        # The request takes its place only when its body is complete, so that a slow body keeps no other request out.
        async with self._intake.body(weight) as held:
            documents, parameters = await read(held)
            held.keep(sum(map(size_of, documents)))
            async with self._admitted(identity, documents):
                work = self.perform(endpoint, documents, parameters, identity)
                return await (work if caller.gone is None else unless_gone(caller.gone(), work))

    def identify(self, endpoint: Endpoint, caller: Caller) -> Identity:
        """Return who calls.

        Raises:
            VisualSearchError: `unauthenticated`, `forbidden`.
        """
        return self._access.identify(endpoint, caller.keys, caller.address, caller.signed)

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers must send a key."""
        return self._access.asks_for_keys

    def check_open(self) -> None:
        """Refuse work while the gateway stops, or before the flow is ready.

        Raises:
            VisualSearchError: `draining`, or the reason why the flow is not ready.
        """
        if self._service.gate.draining:
            raise VisualSearchError("draining", "this gateway is stopping")
        self._service.readiness.check()

    async def perform(
        self, endpoint: Endpoint, documents: list[ImageDoc], parameters: Any, identity: Identity = ANYONE
    ) -> Answer:
        """Check the documents and parameters, and run the operation.

        Raises:
            VisualSearchError: the request failed as a whole.
        """
        started = time.perf_counter()
        metrics = self._service.metrics
        metrics.note_documents(endpoint.path, documents)
        bulk = is_bulk(len(documents), sum(map(size_of, documents)))
        current_turn.set(Turn(f"{self._name}-{next(self._numbers)}", bulk, identity.name or ""))
        await self._lost_shards.check(writes=endpoint.writes)
        try:
            with self._counted(endpoint, documents, parameters, bulk=bulk):
                request = self._checked(endpoint, documents, parameters, identity)
                with self._audited(endpoint, request):
                    answer = await endpoint.operation(self._service, request)
        except VisualSearchError as error:
            self._lost_shards.note(error.code)
            raise
        answer.took_ms["total"] = round((time.perf_counter() - started) * 1000, 2)
        if endpoint.writes:
            self._access.note_write(identity, endpoint, request, f"{answer.failed} failed")
        answer.address_of = self._access.addresses()
        metrics.note_answer(endpoint.path, answer.documents, answer.took_ms)
        self._lost_shards.note_all(answer.documents)
        _raise_if_service_failed(answer.documents)
        return answer

    @contextmanager
    def _audited(self, endpoint: Endpoint, request: Request[BaseModel]) -> Iterator[None]:
        """Note a write that ends by an exception; the part that was applied before is a write as well."""
        try:
            yield
        except BaseException as error:
            if endpoint.writes:
                code = error.code if isinstance(error, VisualSearchError) else type(error).__name__
                self._access.note_write(request.identity, endpoint, request, f"ended by {code}")
            raise

    def _counted(
        self, endpoint: Endpoint, documents: list[ImageDoc], parameters: Any, *, bulk: bool
    ) -> AbstractContextManager[None]:
        """Show a long request to those who watch, while it runs."""
        if not is_job(endpoint.path, parameters, bulk=bulk):
            return nullcontext()
        return self._service.jobs.running(endpoint.path, collection_of(parameters), len(documents))

    def _checked(
        self, endpoint: Endpoint, documents: list[ImageDoc], parameters: Any, identity: Identity
    ) -> Request[BaseModel]:
        """Check the documents and parameters, and return the request for the operation.

        Raises:
            VisualSearchError: `invalid_parameter`, `empty_request`, `duplicate_id`, `too_many_documents`.
        """
        if endpoint.takes is Takes.NOTHING:
            refuse_documents(documents)
            given = parse_parameters(endpoint.parameters, parameters)
            self._access.check_collections(identity, endpoint, given, ())
            return Request([], given, identity=identity)
        given = parse_parameters(endpoint.parameters, parameters)
        if endpoint.instead is not None and getattr(given, endpoint.instead) is not None:
            if documents:
                message = f"{endpoint.instead}: takes the place of `data`; send one or the other"
                raise VisualSearchError("invalid_parameter", message)
            self._access.check_collections(identity, endpoint, given, ())
            return Request([], given, identity=identity)
        if endpoint.beside is not None and getattr(given, endpoint.beside) is not None and not documents:
            self._access.check_collections(identity, endpoint, given, ())
            return Request([], given, identity=identity)
        collection: str | None = getattr(given, "collection", None)
        check_request(documents, self._max_documents, collection)
        made = admit_documents(documents, endpoint.takes, collection=collection)
        self._access.check_collections(identity, endpoint, given, documents)
        return Request(documents, given, made, identity)

    def _held(self, identity: Identity, documents: Sequence[ImageDoc]) -> AbstractContextManager[None]:
        if identity.name is None:
            return nullcontext()
        return self._limits.holding(identity.name, identity.limits, _amounts(identity.limits, documents))

    @asynccontextmanager
    async def _admitted(self, identity: Identity, documents: Sequence[ImageDoc]) -> AsyncIterator[None]:
        """Hold a place in the gate and what the key's limits count, and set a deadline, for the work inside the block.

        Raises:
            VisualSearchError: `overloaded`, `draining`, `deadline_exceeded`, `over_limit`.
        """
        with self._service.gate.enter(), self._held(identity, documents):
            try:
                async with asyncio.timeout(self._timeout_s):
                    yield
            except TimeoutError:
                raise VisualSearchError(
                    "deadline_exceeded", f"no answer within {self._timeout_s:g} s", timeout_s=self._timeout_s
                ) from None


def _amounts(limits: Limits, documents: Sequence[ImageDoc]) -> dict[str, int]:
    """Return what the limits of a key count of a request; the pixels only if they are limited."""
    amounts = {"documents_in_flight": len(documents), "bytes_in_flight": sum(map(size_of, documents))}
    if limits.pixels_in_flight is not None:
        amounts["pixels_in_flight"] = sum(map(_pixels, documents))
    return amounts


def _pixels(document: ImageDoc) -> int:
    """Return the pixels of a picture by its header; 0 for what is none, which a stage refuses."""
    if document.tensor is not None:
        return int(document.tensor.size // 3)
    if document.blob is None:
        return 0
    try:
        header = read_header(document.blob)
    except VisualSearchError:
        return 0
    return header.width * header.height


def endpoint_for_grpc(path: str) -> Endpoint:
    """Return the endpoint that a gRPC caller posts to.

    Raises:
        VisualSearchError: `unknown_endpoint`.
    """
    endpoint = BY_PATH.get(path)
    if endpoint is None or not endpoint.grpc:
        known = sorted(each.path for each in BY_PATH.values() if each.grpc and not each.always)
        raise VisualSearchError("unknown_endpoint", f"no endpoint {path!r}", endpoints=known)
    return endpoint


def _raise_if_service_failed(documents: Sequence[ImageDoc]) -> None:
    """Raise the first error if every document failed and the service, not the documents, is at fault."""
    first = documents[0].error if documents else None
    if first is None or ERRORS[first.code].status < _SERVICE_STATUS or first.code == "embedding_failed":
        return
    if all(document.error is not None and document.error.code == first.code for document in documents):
        raise first.to_error()
