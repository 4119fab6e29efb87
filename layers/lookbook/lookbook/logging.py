"""One logger for all functions: JSON lines with event names, and the ids that everything is found by."""

from __future__ import annotations

import logging

from aws_lambda_powertools import Logger

# It logs the target of a request whose answer has bad headers, and a picture's URL may carry a signature.
logging.getLogger("urllib3").setLevel(logging.ERROR)

logger = Logger(service="lookbook", use_rfc3339=True, serialize_stacktrace=False)
