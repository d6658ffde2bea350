"""A storage for tests: `shelf://NAME` is a file of that name in the directory $SHELF."""

import os
import shutil
from pathlib import Path
from typing import Any

from snakemake_interface_storage_plugins.io import IOCacheStorageInterface
from snakemake_interface_storage_plugins.storage_object import StorageObjectRead, StorageObjectWrite
from snakemake_interface_storage_plugins.storage_provider import (
    ExampleQuery,
    Operation,
    QueryType,
    StorageProviderBase,
    StorageQueryValidationResult,
)

SCHEME = "shelf://"


class StorageProvider(StorageProviderBase):  # type: ignore[misc]
    @classmethod
    def example_queries(cls) -> list[ExampleQuery]:
        return [ExampleQuery(query="shelf://a", type=QueryType.ANY, description="The file a.")]

    def rate_limiter_key(self, query: str, operation: Operation) -> Any:
        return None

    def default_max_requests_per_second(self) -> float:
        return 1000.0

    def use_rate_limiter(self) -> bool:
        return False

    @classmethod
    def is_valid_query(cls, query: str) -> StorageQueryValidationResult:
        return StorageQueryValidationResult(query=query, valid=query.startswith(SCHEME), reason="not shelf://")

    def list_objects(self, query: Any) -> list[str]:
        return []


class StorageObject(StorageObjectRead, StorageObjectWrite):  # type: ignore[misc]
    @property
    def path(self) -> Path:
        return Path(os.environ["SHELF"]) / self.query.removeprefix(SCHEME)

    async def inventory(self, cache: IOCacheStorageInterface) -> None:
        pass

    def get_inventory_parent(self) -> str | None:
        return None

    def local_suffix(self) -> str:
        return str(self.query.removeprefix(SCHEME))

    def cleanup(self) -> None:
        if self.local_path().is_file():
            self.local_path().unlink()

    def exists(self) -> bool:
        return self.path.exists()

    def mtime(self) -> float:
        return self.path.stat().st_mtime

    def size(self) -> int:
        return self.path.stat().st_size

    def retrieve_object(self) -> None:
        shutil.copy2(self.path, self.local_path())

    def store_object(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.local_path(), self.path)

    def remove(self) -> None:
        self.path.unlink()
