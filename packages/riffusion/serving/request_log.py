"""Log lines with fields: one JSON object per line, or plain text.

A line's message is for people. Its fields are attributes of the log record, which a JSON formatter
writes beside the message: the Truss server's own one, or `JsonFormatter` in the gateway. Fields are
numbers, names and ids; no line has the text of a prompt.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from riffusion.serving.request_id import current_request_id

_OF_EVERY_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


def log_with_fields(
    logger: logging.Logger, level: int, message: str, fields: Mapping[str, Any]
) -> None:
    """Log one line.

    Args:
        logger: where to.
        level: of `logging`.
        message: the line as plain text.
        fields: values that JSON can hold, by names that no `LogRecord` has.
    """
    own = {"request_id": current_request_id.get(), **fields}
    logger.log(level, "%s", message, extra=own)


class JsonFormatter(logging.Formatter):
    """One JSON object per record, with the names that the Truss server's log has."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON."""
        line = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in record.__dict__.items() if k not in _OF_EVERY_RECORD}
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
