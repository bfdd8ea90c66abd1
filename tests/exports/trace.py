"""Reads a Perfetto trace by the schema that the package `perfetto` publishes, and prints what is on it.

Every field must be one of the schema, every number that is referred to must have been given out before, and the
slices of each track must nest. Printed are the slices and instants with their number, `kind name count`.
"""

import collections
import sys

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto

data = open(sys.argv[1], "rb").read()
trace = proto.Trace.FromString(data)
# Without what the schema does not know, and in its encodings.
trace.DiscardUnknownFields()
again = trace.ByteSize()
assert again == len(data), f"{len(data) - again} bytes are not of the schema"

BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
interned = collections.defaultdict(dict)
tracks, events, counts = {}, [], collections.Counter()
for number, packet in enumerate(trace.packet):
    assert packet.trusted_packet_sequence_id == 1
    for field, values in packet.interned_data.ListFields():
        for value in values:
            assert value.iid and value.iid not in interned[field.name], f"{field.name} {value.iid}"
            interned[field.name][value.iid] = value
    for mapping in packet.interned_data.mappings:
        assert all(path in interned["mapping_paths"] for path in mapping.path_string_ids)
        assert not mapping.build_id or mapping.build_id in interned["build_ids"]
    for frame in packet.interned_data.frames:
        assert frame.function_name_id in interned["function_names"]
        assert frame.mapping_id in interned["mappings"]
        assert not frame.source_path_iid or frame.source_path_iid in interned["source_paths"]
    for stack in packet.interned_data.callstacks:
        assert all(frame in interned["frames"] for frame in stack.frame_ids)
    kind = packet.WhichOneof("data")
    if kind == "track_descriptor":
        track = packet.track_descriptor
        assert track.uuid not in tracks and (not track.parent_uuid or track.parent_uuid in tracks)
        tracks[track.uuid] = track
    elif kind == "track_event":
        event = packet.track_event
        assert event.track_uuid in tracks
        assert all(category in interned["event_categories"] for category in event.category_iids)
        assert all(arg.name_iid in interned["debug_annotation_names"] for arg in event.debug_annotations)
        events.append((packet.timestamp, number, event))
    elif kind == "perf_sample":
        stack = interned["callstacks"][packet.perf_sample.callstack_iid]
        leaf = interned["frames"][stack.frame_ids[-1]] if stack.frame_ids else None
        name = interned["function_names"][leaf.function_name_id].str.decode() if leaf else ""
        counts["sample", name] += 1
    else:
        assert kind in ("clock_snapshot", "system_info"), kind

open_slices = collections.defaultdict(list)
for ts, number, event in sorted(events, key=lambda event: event[:2]):
    name = interned["event_names"][event.name_iid].name if event.name_iid else event.name
    if event.type == BEGIN:
        open_slices[event.track_uuid].append(name)
    elif event.type == END:
        counts["slice", open_slices[event.track_uuid].pop()] += 1
    elif event.type == INSTANT:
        counts["instant", name] += 1
    else:
        assert event.type == COUNTER and tracks[event.track_uuid].HasField("counter")
        counts["counter", tracks[event.track_uuid].name] += 1
for stack in open_slices.values():
    for name in stack:
        counts["unfinished", name] += 1
for (kind, name), count in sorted(counts.items()):
    print(kind, name.replace("\n", " "), count)
