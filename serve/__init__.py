"""The service, on Ray Serve."""

from ms2sl.extras import require

require("serve", "ray", "fastapi", "fastapi-offline", "python-multipart")
