"""What a video may be. Every limit of the reader stands here, and in `LIMITS` in words."""

MAX_UPLOAD_MEGABYTES = 100  # what the app takes over the network
MAX_MEGABYTES = 4000  # of a file that is already on this machine
MAX_HOURS = 6
MAX_MEGAPIXELS = 36  # a frame: 8K (7680 x 4320) passes
MAX_PICTURE_MEGAPIXELS = 100  # a single picture
MAX_FRAMES_READ = 512  # taken from one video
MIN_SIDE = 16  # pixels, the smallest `max_side`

MAX_SECONDS_TO_READ = 60  # wall time of the decoding process, start included
MAX_GIGABYTES_TO_READ = 6  # its address space, where the system can limit it (Linux)

FORMATS = "MP4, MOV, MKV, WebM, AVI, MPG, GIF, TS"
PICTURE_FORMATS = "JPEG, PNG, WebP, BMP"
SUFFIXES = (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".gif", ".ts", ".mts", ".m2ts")

LIMITS = (
    f"{FORMATS}; up to {MAX_UPLOAD_MEGABYTES} MB, {MAX_HOURS} hours and 8K ({MAX_MEGAPIXELS} megapixels a frame). "
    f"At most {MAX_FRAMES_READ} frames are taken, and reading stops after {MAX_SECONDS_TO_READ} seconds."
)
