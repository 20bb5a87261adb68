"""Client for Dify's knowledge API."""

from exporter.dify.answers import (
    DatasetAnswer,
    DatasetPage,
    DocumentDetail,
    DocumentPage,
    IndexingItem,
    ListedDocument,
    ProcessRuleAnswer,
    SegmentPage,
)
from exporter.dify.api import PAGE, Answer, DifyApi, every_page
from exporter.dify.budget import Budget
from exporter.dify.client import Client
from exporter.dify.credentials import Credentials
from exporter.dify.errors import (
    BadAnswer,
    BadRequest,
    ConnectFailed,
    DecodeFailed,
    DifyError,
    Forbidden,
    Intercepted,
    NotFound,
    RateLimited,
    SchemaMismatch,
    ServerFailed,
    Stopped,
    TimedOut,
    TLSFailed,
    TooLarge,
    Unauthorized,
    Unreachable,
)
from exporter.dify.transport.environment import check_environment
from exporter.dify.versions import IGNORES_STATUS_FILTER, QUIRKS
