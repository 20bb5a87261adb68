"""An engine for checked YAML configuration; it knows nothing of Dify."""

from exporter.yamlconf.file_access import bounded
from exporter.yamlconf.files import Missing, Unreadable, folder_of, is_pipe, read_text
from exporter.yamlconf.problems import ConfigError, Invalid, Problem, show, show_path
from exporter.yamlconf.reader import read_file, read_tree
from exporter.yamlconf.schema import Given, Key, ListOf, Section, Spot, Value, key, model, section_of
from exporter.yamlconf.values import Secret, format_duration, parse_duration
from exporter.yamlconf.watched_file import Stamp, WatchedFile, stamp_of, stamps
