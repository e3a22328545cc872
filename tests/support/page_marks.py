"""Where the tests of the page look: what Streamlit calls things, and a task's id."""

from __future__ import annotations

import re

#: The id of a task in the address of Follow; on the way there the address of the view before has it for a moment.
TASK = re.compile(r"(?<=/follow\?task=)[0-9a-f]{32}")
#: The badge with the state of a run.
BADGE = ".stMarkdownBadge"
#: The page while no script of it is running: what is drawn stays.
AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"
#: The address of the form; the bare one shows three cards as long as nothing was run.
FORM = "/?preset=default"
