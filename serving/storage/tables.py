"""Tables: scans, keys, shadows, reviews and turns at moving a champion, as they are in SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

STATES = ("arriving", "queued", "running", "succeeded", "failed", "cancelled", "deleted")
"""Of a scan."""

metadata = MetaData()

scans = Table(
    "ricefish_scans",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created", Float(53), nullable=False, comment="seconds since 1970"),
    Column("content", Text, nullable=False, comment="the Scan, as JSON"),
    Column("sha256", String(64), nullable=False, comment="of the source"),
    Column("model_key", String(64), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("state", String(16), nullable=False, comment=", ".join(STATES)),
    Column("not_before", Float(53), nullable=False, default=0.0, comment="a retry waits until then"),
    Column("failures", Integer, nullable=False, default=0, comment="errors since the last slab was finished"),
    Column("starts", Integer, nullable=False, default=0, comment="how often it was begun since then"),
    Column("error", Text, comment="of the last failure"),
    Column("owner", String(200), comment="the process that works on it"),
    Column("epoch", Integer, nullable=False, default=0, comment="raised by whoever takes it"),
    Column("lease_until", Float(53), comment="when the owner counts as gone"),
    Column("slabs_done", Integer, nullable=False, default=0),
    Column("batch_size", Integer, comment="that it was begun with"),
    Column("rate", Float(53), comment="slices per second, of late"),
    Column("statistics", Text, comment="organ statistics of the slabs that are done, as JSON"),
    Column("judgement", Text, comment="what is judged of the slabs that are done, as JSON"),
    Column("checksums", Text, comment="of the files of the result that are written, by name, as JSON"),
    Column("warnings", Text, comment="how it is unlike the training, as JSON; NULL: in no way that is known yet"),
    Column("timings", Text, comment="seconds by activity, as JSON"),
    Column("finished", Float(53), comment="seconds since 1970"),
    Column("key_owner", String(200), comment="whose key it was posted with; NULL without keys"),
    Column("queued", Float(53), comment="since when it waits, seconds since 1970"),
    Column("bytes", BigInteger, comment="of the source"),
    Column("voxels", BigInteger),
    Column("slices", Integer),
    Column("slabs", Integer, comment="in all"),
    Index("ricefish_scans_queue", "state", "priority", "created"),
    Index("ricefish_scans_created", "created"),
    Index("ricefish_scans_same", "sha256", "model_key"),
    Index("ricefish_scans_owned", "key_owner", "created"),
    Index("ricefish_scans_finished", "state", "finished"),
)

keys = Table(
    "ricefish_keys",
    metadata,
    Column("key", String(255), primary_key=True, comment="an Idempotency-Key"),
    Column("scan_id", String(32), nullable=False, index=True),
)

corrections = Table(
    "ricefish_corrections",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("scan_id", String(32), nullable=False),
    Column("number", Integer, comment="of the version, from 1; NULL until its files are stored"),
    Column("state", String(16), nullable=False, comment="arriving, stored, deleted, gone"),
    Column("created", Float(53), nullable=False, comment="seconds since 1970"),
    Column("owner", String(200), comment="the process that takes it in"),
    Column("author", String(200), comment="whose key it was sent with; NULL without keys"),
    Column("sha256", String(64), nullable=False, comment="of the file that was sent"),
    Column("content", Text, comment="the Correction, as JSON; NULL once it is deleted"),
    Column("checksums", Text, comment="of its files, by name, as JSON"),
    Index("ricefish_corrections_numbers", "scan_id", "number", unique=True),
    Index("ricefish_corrections_state", "state"),
)

api_keys = Table(
    "ricefish_api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("hash", String(64), nullable=False, comment="SHA-256 of the secret"),
    Column("owner", String(200), nullable=False),
    Column("scopes", String(200), nullable=False, comment="separated by spaces"),
    Column("reviews", Text, comment="owners beside its own whose scans it may review, as JSON; NULL: none"),
    Column("created", Float(53), nullable=False, comment="seconds since 1970"),
    Column("expires", Float(53), comment="seconds since 1970"),
    Column("revoked", Float(53), comment="seconds since 1970"),
    Column("last_used", Float(53), comment="seconds since 1970, to the hour"),
    Column("requests_per_minute", Integer),
    Column("bytes_per_day", BigInteger),
    Column("day", Integer, nullable=False, default=0, comment="days since 1970, that the bytes are of"),
    Column("bytes", BigInteger, nullable=False, default=0, comment="that were sent on that day"),
)

sessions = Table(
    "ricefish_sessions",
    metadata,
    Column("hash", String(64), primary_key=True, comment="SHA-256 of what the cookie holds"),
    Column("key_id", String(32), nullable=False, comment="the API key that it was begun with"),
    Column("created", Float(53), nullable=False, comment="seconds since 1970"),
    Column("expires", Float(53), nullable=False, comment="seconds since 1970"),
    Index("ricefish_sessions_expires", "expires"),
)

marks = Table(
    "ricefish_marks",
    metadata,
    Column("name", String(32), primary_key=True, comment="keys: there was an API key"),
    Column("since", Float(53), nullable=False, comment="seconds since 1970"),
)

shadows = Table(
    "ricefish_shadows",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("scan_id", String(32), unique=True, comment="NULL once the scan is gone"),
    Column("state", String(16), nullable=False, comment="wanted, running, done, same, given up"),
    Column("wanted", Float(53), nullable=False, comment="when the scan succeeded, seconds since 1970"),
    Column("not_before", Float(53), nullable=False, default=0.0, comment="a retry waits until then"),
    Column("starts", Integer, nullable=False, default=0, comment="how often it was begun since the last slab"),
    Column("error", Text, comment="of the last failure"),
    Column("owner", String(200), comment="the process that works on it"),
    Column("epoch", Integer, nullable=False, default=0, comment="raised by whoever takes it"),
    Column("lease_until", Float(53), comment="when the owner counts as gone"),
    Column("slabs_done", Integer, nullable=False, default=0),
    Column("counts", Text, comment="voxels that agree and differ in the slabs that are done, as JSON"),
    Column("champion_key", String(64), comment="of the model that answered"),
    Column("champion_name", String(255)),
    Column("champion_version", String(64)),
    Column("shadow_key", String(64), comment="of the model that it is compared with"),
    Column("shadow_name", String(255)),
    Column("shadow_version", String(64)),
    Column("finished", Float(53), comment="seconds since 1970"),
    Index("ricefish_shadows_queue", "state", "wanted"),
    Index("ricefish_shadows_finished", "state", "finished"),
)

offered_scans = Table(
    "ricefish_offered_scans",
    metadata,
    Column("scan_id", String(32), primary_key=True),
    Column("finished", Float(53), nullable=False, comment="when the scan had ended whose slices were chosen"),
)

offered_slices = Table(
    "ricefish_offered_slices",
    metadata,
    Column("scan_id", String(32), primary_key=True),
    Column("slice_index", Integer, primary_key=True, autoincrement=False, comment="along z"),
    Column("folder", Text, nullable=False, comment="that the file came from; empty: nobody said"),
    Column("organ", Text, nullable=False, comment="in question, by name; empty: nobody knows"),
    Column("uncertainty", Float(53), nullable=False, comment="0..1"),
    Column("good", Float(53), comment="probability that it is"),
    Column("dice", Float(53), comment="that is expected of the organ in question"),
    Column("confidence", Float(53), comment="mean winning probability of its organs"),
    Column("looks", Integer, nullable=False, default=0, comment="reviewers whose verdict on it stands"),
    Column("judged", Integer, nullable=False, default=0, comment="those of them who did not skip it"),
    Column("claimed_by", String(200), comment="the reviewer who was given it"),
    Column("claimed_until", Float(53), comment="when it may be given to others, seconds since 1970"),
    Index("ricefish_offered_slices_claimed", "claimed_until"),
    Index("ricefish_offered_slices_looked", "looks"),
)

reviews = Table(
    "ricefish_reviews",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created", Float(53), nullable=False, comment="seconds since 1970"),
    Column("reviewer", String(200), nullable=False, comment="owner of the key, or anonymous"),
    Column("scan_id", String(32), nullable=False, comment="stays when the scan is removed"),
    Column("key_owner", String(200), comment="of the scan; NULL without keys"),
    Column("volume", Text, nullable=False, comment="what training calls the scan"),
    Column("axis", String(1), nullable=False),
    Column("slice_index", Integer, nullable=False),
    Column("organ", Text, nullable=False, comment="that the verdict is on, by name; empty: on the slice"),
    Column("verdict", String(8), nullable=False, comment="good, bad, unsure, skip"),
    Column("comment", Text, nullable=False),
    Column("mask_sha256", String(64), nullable=False, comment="of the mask that was seen"),
    Column("model_name", String(255), nullable=False),
    Column("model_version", String(64), comment="NULL for a model from a folder"),
    Column("model_sha256", String(64), nullable=False),
    Column("organs", Text, comment="names of the model's, in the order of class indices, as JSON; NULL: not noted"),
    Column("ended", Float(53), comment="since when it no longer stands, seconds since 1970; NULL: it stands"),
    Column("ending", String(16), comment="replaced, withdrawn"),
    Index("ricefish_reviews_created", "created", "id"),
    Index("ricefish_reviews_slice", "scan_id", "slice_index", "reviewer"),
    Index("ricefish_reviews_reviewer", "reviewer", "created"),
)
review_masks = Table(
    "ricefish_review_masks",
    metadata,
    Column("mask_sha256", String(64), primary_key=True, comment="as reviews have it"),
    Column("png", LargeBinary, nullable=False, comment="class indices, as scans.mask_picture writes them"),
)
_STANDS = reviews.c.ended.is_(None)
Index(
    "ricefish_reviews_standing",
    *(reviews.c.scan_id, reviews.c.axis, reviews.c.slice_index, reviews.c.organ, reviews.c.reviewer),
    unique=True,
    sqlite_where=_STANDS,
    postgresql_where=_STANDS,
)

champion_turns = Table(
    "ricefish_champion_turns",
    metadata,
    Column("model", String(255), primary_key=True, comment="whose champion is being moved"),
    Column("turn", String(32), nullable=False, comment="of whoever moves it"),
    Column("mover", String(200), nullable=False, comment="owner of the key, or anonymous"),
    Column("until", Float(53), nullable=False, comment="when it counts as given up, seconds since 1970"),
)
