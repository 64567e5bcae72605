"""What each route needs, written down once more, for the tests of access."""

from __future__ import annotations

from serving.api.access import OPEN

NOT_OFFERED = (*("/v2/logging", "/v2/trace/setting", "/v2/models/{name}/trace/setting"),)

SIGN_IN = ("POST", "/sign-in")
SIGN_OUT = ("POST", "/sign-out")
"""Open too: what they look at is a form."""
UNENDING = "/scans/rows"
"""A stream that ends with the server."""
SIGNED = ("POST", "/v1/models/webhook")
"""Open to all keys and none: it believes a signature."""

SEGMENT = frozenset({"segment"})
REVIEW = frozenset({"review"})
EITHER = frozenset({"segment", "review"})
EXPECTED = {
    **{("GET", path): OPEN for path in ("/openapi.json", "/docs", "/docs/oauth2-redirect")},
    **{("GET", path): OPEN for path in ("/health/live", "/health/ready", "/static-offline-docs/swagger-ui.css")},
    ("HEAD", "/openapi.json"): OPEN,
    ("GET", "/metrics"): frozenset({"admin"}),
    ("GET", "/v1/model"): EITHER,
    ("GET", "/v1/models/shadow"): REVIEW,
    ("GET", "/v1/models"): EITHER,
    ("GET", "/v1/models/{name}/verdict"): EITHER,
    **{("POST", f"/v1/models/{{name}}/{move}"): frozenset({"admin"}) for move in ("promotion", "rollback")},
    SIGNED: OPEN,
    **dict.fromkeys((SIGN_IN, SIGN_OUT, ("GET", "/sign-in")), OPEN),
    **{("GET", path): OPEN for path in ("/static/{file:path}", "/v/{scan}/{file:path}")},
    **{("GET", path): EITHER for path in ("/", "/models", "/models/versions", "/models/verdict")},
    **{("GET", path): SEGMENT for path in (UNENDING, "/scans/{scan_id}", "/scans/{scan_id}/organ-names/info")},
    ("GET", "/events/{scan_id}"): SEGMENT,
    ("GET", "/reviews"): REVIEW,
    **{
        (method, f"/v1/scans/{{scan_id}}/{store}.ome.zarr/{{name:path}}"): SEGMENT
        for method in ("GET", "HEAD")
        for store in ("image", "segmentation", "segmentations/{version}")
    },
    ("POST", "/v1/scans"): SEGMENT,
    ("GET", "/v1/scans"): SEGMENT,
    ("GET", "/v1/scans/{scan_id}"): SEGMENT,
    ("DELETE", "/v1/scans/{scan_id}"): SEGMENT,
    ("GET", "/v1/scans/{scan_id}/events"): SEGMENT,
    ("POST", "/v1/scans/{scan_id}/cancel"): SEGMENT,
    ("POST", "/v1/scans/{scan_id}/retry"): SEGMENT,
    ("GET", "/v1/scans/{scan_id}/segmentation"): SEGMENT,
    ("PUT", "/v1/scans/{scan_id}/segmentation"): SEGMENT,
    ("GET", "/v1/scans/{scan_id}/segmentations"): SEGMENT,
    ("DELETE", "/v1/scans/{scan_id}/segmentations/{version}"): SEGMENT,
    ("GET", "/v1/scans/{scan_id}/image"): SEGMENT,
    ("GET", "/v1/scans/{scan_id}/organs"): SEGMENT,
    ("GET", "/v1/scans/{scan_id}/labels"): SEGMENT,
    ("GET", "/v1/scans/{scan_id}/quality"): SEGMENT,
    ("GET", "/v1/scans/{scan_id}/slices/{axis}/{index}.png"): EITHER,
    **{("GET", f"/v1/reviews{what}"): REVIEW for what in ("", "/next", "/counts", "/{review_id}/mask.png")},
    ("POST", "/v1/reviews"): REVIEW,
    ("DELETE", "/v1/reviews/{review_id}"): REVIEW,
    ("GET", "/v1/scans/{scan_id}/surfaces.glb"): SEGMENT,
    **{("GET", f"/v1/scans/{{scan_id}}/surfaces/{{organ}}.{suffix}"): SEGMENT for suffix in ("glb", "stl")},
    **{
        ("GET", f"/v1/scans/{{scan_id}}/surfaces/precomputed/{what}"): SEGMENT
        for what in ("info", "segment_properties/info", "{segment}:0", "{segment}.mesh")
    },
    ("OPTIONS", "/v1/uploads"): SEGMENT,
    ("POST", "/v1/uploads"): SEGMENT,
    ("OPTIONS", "/v1/uploads/{upload_id}"): SEGMENT,
    ("HEAD", "/v1/uploads/{upload_id}"): SEGMENT,
    ("PATCH", "/v1/uploads/{upload_id}"): SEGMENT,
    ("DELETE", "/v1/uploads/{upload_id}"): SEGMENT,
    ("POST", "/v2/models/{name}/infer"): SEGMENT,
    ("POST", "/v2/models/{name}/versions/{version}/infer"): SEGMENT,
    **{("GET", path): OPEN for path in ("/v2/health/live", "/v2/health/ready")},
    **{("GET", path): SEGMENT for path in ("/v2", "/v2/models/stats")},
    **{("GET", f"/v2/models/{{name}}{what}"): SEGMENT for what in ("", "/ready", "/config", "/stats")},
    **{
        ("GET", f"/v2/models/{{name}}/versions/{{version}}{what}"): SEGMENT
        for what in ("", "/ready", "/config", "/stats")
    },
    ("POST", "/v2/repository/index"): SEGMENT,
    ("POST", "/v2/repository/models/{name}/load"): frozenset({"admin"}),
    ("POST", "/v2/repository/models/{name}/unload"): frozenset({"admin"}),
    **{
        (method, f"/v2/{kind}sharedmemory{where}/{what}"): frozenset({"admin"})
        for kind in ("system", "cuda")
        for where in ("", "/region/{name}")
        for method, what in (("GET", "status"), ("POST", "unregister"))
    },
    ("POST", "/v2/systemsharedmemory/region/{name}/register"): frozenset({"admin"}),
    **{(method, "/v2/cudasharedmemory/region/{name}/register"): frozenset({"admin"}) for method in ("GET", "POST")},
    **{(method, path): SEGMENT for method in ("GET", "POST") for path in NOT_OFFERED},
}
"""What each route needs; a new one is to be written down here."""
