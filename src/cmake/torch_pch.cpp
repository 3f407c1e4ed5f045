// This file exists because the target of the precompiled header needs a source.
