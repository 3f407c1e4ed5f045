// Anchor of the precompiled header's target.
