"""Uploads FILE to ENDPOINT with tuspy, going on with an earlier upload that STATE remembers; prints its address."""

import sys
import time
from pathlib import Path

from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

endpoint, file, state, chunk, rate = sys.argv[1:]
storage = FileStorage(state)  # type: ignore[no-untyped-call]
try:
    uploader = TusClient(endpoint).uploader(
        file,
        chunk_size=int(chunk),
        metadata={"filename": Path(file).name},
        store_url=True,
        url_storage=storage,
        retries=120,
        retry_delay=1,
    )
    while uploader.offset < uploader.get_file_size():  # type: ignore[no-untyped-call]
        uploader.upload_chunk()  # type: ignore[no-untyped-call]
        time.sleep(int(chunk) / float(rate) if float(rate) > 0 else 0)
    print(uploader.url)
finally:
    storage.close()  # type: ignore[no-untyped-call]
