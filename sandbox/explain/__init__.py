"""What a sandbox refused, by which layer, for which line of the profile, and what would allow it.

`Explanation` starts a sandbox that is followed and says at its end what was refused.
"""

from sandbox.explain.denial import Advice, Denial, Layer
from sandbox.explain.engine import Explanation
from sandbox.explain.report import Report, as_json, snippet

__all__ = ["Advice", "Denial", "Explanation", "Layer", "Report", "as_json", "snippet"]
