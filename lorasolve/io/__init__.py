"""Users' files: ratings and arrays in, results out and back in. Everything is written whole or not at all.

``ratings`` come from ``text_tables`` or ``matrix_market``, ``arrays`` from archives; ``task_files`` makes an objective
of either. ``results`` and ``documents`` are what is written.
"""

from .arrays import arrays_writer as arrays_writer
from .arrays import read_arrays as read_arrays
from .arrays import write_arrays as write_arrays
from .documents import SCHEMA_VERSION as SCHEMA_VERSION
from .documents import envelope as envelope
from .documents import json_writer as json_writer
from .documents import to_json as to_json
from .documents import write_json as write_json
from .labels import given_twice as given_twice
from .labels import label_places as label_places
from .labels import labels_like as labels_like
from .labels import plain_labels as plain_labels
from .ratings import UNNAMED as UNNAMED
from .ratings import Pairs as Pairs
from .ratings import Ratings as Ratings
from .ratings import as_values as as_values
from .ratings import labelled as labelled
from .ratings import left_aside as left_aside
from .ratings import read_pairs as read_pairs
from .ratings import read_ratings as read_ratings
from .reading import readable as readable
from .results import is_result as is_result
from .results import load_result as load_result
from .results import result_writer as result_writer
from .results import save_result as save_result
from .task_files import constructor_keys as constructor_keys
from .task_files import key_list as key_list
from .task_files import objective_from_arrays as objective_from_arrays
from .task_files import read_task as read_task
from .text_tables import DUPLICATES as DUPLICATES
from .text_tables import TextFormat as TextFormat

__all__ = [
    "Pairs",
    "Ratings",
    "TextFormat",
    "load_result",
    "objective_from_arrays",
    "read_arrays",
    "read_pairs",
    "read_ratings",
    "read_task",
    "save_result",
    "to_json",
    "write_arrays",
    "write_json",
]
