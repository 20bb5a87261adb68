"""The upstream: a client for the knowledge API of Dify."""

from exporter.dify.budget import Budget
from exporter.dify.client import Answer, Client, RequestObserver
from exporter.dify.errors import (
    BadAnswer,
    BadRequest,
    ConnectFailed,
    DecodeFailed,
    DifyError,
    Forbidden,
    NotFound,
    RateLimited,
    Refused,
    SchemaMismatch,
    ServerFailed,
    Stopped,
    TimedOut,
    TLSFailed,
    TooLarge,
    Unauthorized,
    Unreachable,
)
from exporter.dify.wire import DocumentDetail, IndexingItem, ProcessRule, Rules, Segmentation

__all__ = [
    "Answer",
    "BadAnswer",
    "BadRequest",
    "Budget",
    "Client",
    "ConnectFailed",
    "DecodeFailed",
    "DifyError",
    "DocumentDetail",
    "Forbidden",
    "IndexingItem",
    "NotFound",
    "ProcessRule",
    "RateLimited",
    "Refused",
    "RequestObserver",
    "Rules",
    "SchemaMismatch",
    "Segmentation",
    "ServerFailed",
    "Stopped",
    "TLSFailed",
    "TimedOut",
    "TooLarge",
    "Unauthorized",
    "Unreachable",
]
