"""Ordinary clips: name of the file → how `tests.clips.encode` makes it."""

OPEN_GROUPS = {"preset": "fast", "x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=24:min-keyint=24:scenecut=0:log-level=none"}
HEVC_OPEN_GROUPS = {"x265-params": "log-level=none:keyint=20:bframes=4:open-gop=1"}
CLIPS = {
    "h264.mp4": {},
    "h264.mov": {},
    "h264.mkv": {},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "one group.mp4": {"group": 250, "b_frames": 3},
    "open groups.mp4": {"options": OPEN_GROUPS, "b_frames": 3},
    "hevc open groups.mkv": {"codec": "libx265", "options": HEVC_OPEN_GROUPS},
    "all key frames.mov": {"codec": "mpeg4", "group": 1, "b_frames": 0},
    "vp9.webm": {"codec": "libvpx-vp9", "b_frames": 0},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 0},
    "without times.avi": {},
    "hardly any times.mpg": {"codec": "mpeg1video", "rate": 25},
    "b-frames.mpg": {"codec": "mpeg2video", "rate": 25},
}
