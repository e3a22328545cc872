"""Every test of this folder can have a stand-in hub."""

from support.hub_fixtures import empty_hub, hub, hub_contents

__all__ = ["empty_hub", "hub", "hub_contents"]
