"""Problem table: which domain error is which status, and all that a call can be refused with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from scans.formats import FormatError, SpacingMissing
from scans.formats.errors import NotSegmentable
from serving.api.ranges import RangeNotSatisfiable
from serving.auth.authentication import NotAllowed, NotAuthenticated
from serving.auth.origin import ForeignOrigin
from serving.auth.quotas import QuotaExceeded
from serving.auth.sessions import ForgedRequest
from serving.inference.backpressure import QueueFull, SlicesFull
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.runtime.plain import RunFailed
from serving.intake.arrived import UploadDamaged
from serving.intake.body import DigestMismatch, DigestUnreadable, UploadStalled
from serving.intake.correction_labels import LabelsRefused
from serving.intake.limits import UploadTooLarge
from serving.intake.multipart import FormRefused
from serving.intake.reader_pool import ReaderFailed
from serving.intake.refusals import AcceptanceUnderWay, KeyReused, RequestRefused
from serving.intake.sources import SourceRefused
from serving.intake.tus import ChecksumMismatch, UploadIncomplete, UploadNotFound
from serving.intake.tus_headers import TUS_VERSION, NoPart, OtherVersion, UploadRefused
from serving.intake.writers import OffsetConflict
from serving.models.champions import ChampionMoved, GateRefused, NotPromotable
from serving.models.registry import RegistryError, RegistryUnreachable
from serving.models.served import ModelNotServed
from serving.models.webhooks import EventRefused, EventUnreadable
from serving.models.weighing import VersionUnknown
from serving.observability.probes import Unanswered
from serving.parsing.malformed import TooLarge
from serving.protocol.errors import (
    BodyTooSlow,
    InferenceRefused,
    LoadRefused,
    NotOffered,
    RegionRefused,
    RunTooLong,
    UnknownModel,
)
from serving.queue.jobs import ScanNotFound, WrongState
from serving.review.records import ReviewNotFound
from serving.review.reviewing import MaskNotKept, OtherMask, ReviewRefused
from serving.segmentation.corrections import VersionNotFound
from serving.segmentation.organ_surfaces import SurfaceNotFound
from serving.segmentation.results import SliceNotFound, UnknownFormat
from serving.segmentation.served_files import FileDamaged, NoFile
from serving.segmentation.stored_segmentation import CorrectionDamaged, ResultDamaged
from serving.segmentation.stored_voxels import ScanDamaged
from serving.storage.sealed import NoteDamaged

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2


class NotFinished(ValueError):
    """A result was asked for that is not there yet."""


class NoResult(ValueError):
    """A result was asked for of a scan that failed or was cancelled."""


class NotFromRegistry(ValueError):
    """A model that is served from a folder: it has no versions; the message says what would be right."""


class MoveRefused(ValueError):
    """A wish to move a champion that cannot be understood; the message says what is wrong with it."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class NotReady(RuntimeError):
    """The server takes no work at this moment."""


@dataclass(frozen=True)
class Problem:
    """A row of the table."""

    status: int
    slug: str
    title: str
    headers: Mapping[str, str] = field(default_factory=dict)


_WAIT = {"Retry-After": str(RETRY_SECONDS)}
_TUS = {"Tus-Resumable": TUS_VERSION, "Tus-Version": TUS_VERSION}

PROBLEMS: Mapping[type[Exception], Problem] = {
    NotAuthenticated: Problem(401, "unauthorized", "A valid API key is needed", {"WWW-Authenticate": "Bearer"}),
    NotAllowed: Problem(403, "forbidden", "The API key is not for this"),
    ForeignOrigin: Problem(403, "foreign-origin", "Another's page may have asked for it"),
    ForgedRequest: Problem(403, "forged-request", "Another's page may have asked in the name of a session"),
    QuotaExceeded: Problem(429, "too-much", "The API key's allowance is used up"),
    SlicesFull: Problem(429, "slice-queue-full", "As many slices wait as may wait"),
    QueueFull: Problem(429, "queue-full", "As many scans wait as may wait"),
    LabelsRefused: Problem(422, "bad-labels", "The labels are not those of the scan"),
    SpacingMissing: Problem(400, "spacing-missing", "The voxel spacing has to be given"),
    FormatError: Problem(422, "unreadable-scan", "The file cannot be read as a scan"),
    RequestRefused: Problem(400, "bad-request", "The request cannot become a scan"),
    FormRefused: Problem(400, "bad-form", "The form cannot become a scan"),
    SourceRefused: Problem(403, "source-refused", "The source may not be read"),
    DigestMismatch: Problem(400, "digest-mismatch", "The file arrived damaged"),
    DigestUnreadable: Problem(400, "bad-digest", "The digest cannot be read"),
    UploadTooLarge: Problem(413, "too-large", "The scan is too large"),
    TooLarge: Problem(413, "too-large", "The request is too large"),
    UploadStalled: Problem(408, "upload-stalled", "The upload fell silent", {"Connection": "close"}),
    BodyTooSlow: Problem(408, "body-too-slow", "The body arrives too slowly", {"Connection": "close"}),
    UploadNotFound: Problem(404, "no-such-upload", "There is no such upload"),
    UploadDamaged: Problem(409, "upload-damaged", "The upload was damaged on the server's disk"),
    UploadIncomplete: Problem(409, "upload-incomplete", "The upload is not complete"),
    UploadRefused: Problem(400, "bad-upload", "The upload request cannot be understood"),
    OtherVersion: Problem(412, "other-tus-version", "The upload needs this server's version of tus", _TUS),
    NoPart: Problem(415, "no-part", "The request is no part of an upload", _TUS),
    OffsetConflict: Problem(409, "offset-conflict", "The upload stands elsewhere"),
    ChecksumMismatch: Problem(460, "checksum-mismatch", "The part arrived damaged"),
    KeyReused: Problem(409, "key-reused", "The Idempotency-Key stands for another scan"),
    AcceptanceUnderWay: Problem(503, "being-accepted", "The same scan is being accepted", _WAIT),
    ModelNotServed: Problem(404, "no-such-model", "There is no such model"),
    GateRefused: Problem(409, "gate-refused", "The gate says no"),
    ChampionMoved: Problem(409, "champion-moved", "The champion is another by now"),
    NotPromotable: Problem(409, "not-promotable", "There is no version that could become champion"),
    NotFromRegistry: Problem(409, "not-from-registry", "The model is served from a folder"),
    VersionUnknown: Problem(404, "no-such-model-version", "The registry has no such version"),
    MoveRefused: Problem(400, "bad-move", "The wish to move the champion cannot be understood"),
    RegistryUnreachable: Problem(503, "no-registry", "The registry does not answer", _WAIT),
    RegistryError: Problem(404, "not-registered", "The registry knows no such model"),
    EventRefused: Problem(401, "event-refused", "The event is not known to be the registry's"),
    EventUnreadable: Problem(400, "bad-event", "The event cannot be understood"),
    ScanNotFound: Problem(404, "no-such-scan", "There is no such scan"),
    WrongState: Problem(409, "wrong-state", "The scan is not in a state for this"),
    VersionNotFound: Problem(404, "no-such-version", "There is no such version of the segmentation"),
    ReviewRefused: Problem(400, "bad-review", "The verdict cannot be taken"),
    ReviewNotFound: Problem(404, "no-such-review", "There is no such review"),
    MaskNotKept: Problem(404, "no-such-mask", "The mask is not kept any more"),
    OtherMask: Problem(409, "other-mask", "The mask that was seen is another by now"),
    SliceNotFound: Problem(404, "no-such-slice", "There is no such slice"),
    SurfaceNotFound: Problem(404, "no-such-surface", "There is no such surface"),
    NotSegmentable: Problem(409, "no-dicom-segmentation", "There can be no DICOM segmentation of the scan"),
    FileDamaged: Problem(503, "file-damaged", "A stored file is damaged"),
    NoFile: Problem(404, "no-such-file", "There is no such file", {"Cache-Control": "no-store"}),
    RangeNotSatisfiable: Problem(416, "bad-range", "The file ends before the part that was asked for"),
    UnknownFormat: Problem(400, "unknown-download-format", "The segmentation cannot be had in this format"),
    InferenceRefused: Problem(400, "bad-inference", "The inference request cannot be answered"),
    UnknownModel: Problem(404, "no-such-model", "There is no such model"),
    NotOffered: Problem(400, "not-offered", "The server does not have this extension of the protocol"),
    RegionRefused: Problem(400, "bad-region", "The shared memory cannot be used"),
    LoadRefused: Problem(400, "not-loaded", "The model is not loaded or unloaded"),
    RunFailed: Problem(422, "run-failed", "The model cannot be run on this"),
    RunTooLong: Problem(503, "run-too-long", "The model was ended before it had answered"),
    OutOfDeviceMemory: Problem(507, "out-of-device-memory", "The slices do not fit the device"),
    MemoryError: Problem(507, "out-of-memory", "The server has not the memory for this just now"),
    ResultDamaged: Problem(503, "result-damaged", "The stored result is damaged; it is being made again", _WAIT),
    CorrectionDamaged: Problem(503, "correction-damaged", "The stored correction is damaged; it has to be sent again"),
    NoteDamaged: Problem(503, "row-damaged", "The server's database is damaged"),
    ScanDamaged: Problem(503, "scan-damaged", "The stored scan is damaged; it has to be sent again, with fresh=true"),
    ReaderFailed: Problem(503, "no-reader", "The file could not be read just now", _WAIT),
    NotFinished: Problem(409, "not-finished", "The scan is not finished", _WAIT),
    NoResult: Problem(409, "no-result", "The scan has no result"),
    NotReady: Problem(503, "not-ready", "The server is not ready", _WAIT),
}
UNKNOWN_FORMAT = Problem(415, "unknown-format", "The file is of no accepted format")
DISK_FULL = Problem(507, "disk-full", "The server's disk is full")
NO_STORE = Problem(503, "no-store", "The server's store does not answer", _WAIT)
NO_DATABASE = Problem(503, "no-database", "The server's database does not answer", _WAIT)
NOTHING_LOST = "nothing that was accepted is lost; try again when it does"
NO_ANSWER = (SQLAlchemyError, Unanswered)
"""What is raised where the database does not answer."""
NOT_STORABLE = Problem(400, "bad-request", "The request holds what cannot be looked up")
INTERNAL = Problem(500, "internal", "The server failed; its log says why")
NOT_VALID = Problem(400, "bad-request", "The request is not valid")
ROWS = (
    *(*PROBLEMS.values(), UNKNOWN_FORMAT, DISK_FULL, NO_STORE, NO_DATABASE, NOT_STORABLE, INTERNAL),
    NOT_VALID,
)
"""All that a call can be refused with."""
