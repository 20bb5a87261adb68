"""The state file: what is known survives a restart."""

from exporter.state.state_file import StateFile
